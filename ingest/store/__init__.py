"""Write rows to the database: COPY encoding, the transaction, the ledger, side tables, bar refresh, retries.

Must not know the feed, the files of the journal, or how a row was judged.
"""
