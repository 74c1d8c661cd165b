"""One connection to the feed: its life cycle, its subscriptions, whether it is alive.

Must not know the content of a frame, nor the database.
"""
