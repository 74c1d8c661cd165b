"""Ingest: feed, journal, decode, normalise, write. The entry point is `ingest.cli`."""
