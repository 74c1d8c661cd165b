"""Collect and write as processes of their own, on one machine or several.

    collect   feed ─► journal ─► decode, normalise (liveness, status, handlers)        no database
                         └─────── server: synced ranges of bytes ─┐
    write                     RemoteSource ─► decode ─► normalise ─┴─► the one transaction ─► ticks, ledger

`tickline start` is both in one process, out of the same parts; its consumer reads the journal's file.
"""
