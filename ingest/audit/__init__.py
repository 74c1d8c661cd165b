"""Check whether journal, ledger, table and exchange volume agree. Reads only; must not know how to repair."""
