"""Bytes to columns. Pure; must not know the market, the database or files."""
