"""Commands that record: the feed, recordings, what is wanted of it, and what was missed."""
