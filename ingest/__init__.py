"""Record the feed: receive, journal, decode, normalise, write. The entry point is `ingest.cli`."""
