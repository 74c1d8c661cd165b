"""Broadcast ticks, bars and signals to other programs while they are recorded; see `hub`.

Nothing here costs a recording anything until a program listens, and a listener that is slow or fails loses only its own
events. `ingest.live.http` puts the events on a connection.
"""
