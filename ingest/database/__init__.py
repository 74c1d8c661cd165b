"""The database: its address, engine, schema and connections.

Owns everything that names an engine, and the loader of `sql/`. Must not know ticks, frames or the feed.
"""
