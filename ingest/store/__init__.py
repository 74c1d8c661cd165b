"""Rows to the database: COPY encoding, the transaction, the ledger, side tables, bar refresh, retries.

Must not know the feed, the journal's files, nor how a row was judged.
"""
