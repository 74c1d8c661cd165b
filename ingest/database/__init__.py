"""The database room: where the database is and how to reach it.

Owns everything that names an engine, and the loader of `sql/`. Must not know ticks, frames or the feed.
"""
