"""Turn the journal records of one stream into committed batches, live and in a replay.

Must not know sockets or HTTP.
"""
