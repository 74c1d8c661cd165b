"""Columns to tick rows: trade or quote, volume, what a partial frame leaves out, two connections as one.

Pure; must not know bytes, files or the database.
"""
