"""One connection to the feed: its life cycle, its subscriptions, whether it is alive.

Must not know what a frame means, nor the database.
"""
