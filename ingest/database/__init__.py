"""Find, start, upgrade and connect to the database.

Owns everything that depends on the engine, and the loader of `sql/`. Must not know ticks, frames or the feed.
"""
