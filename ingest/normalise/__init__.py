"""Columns to tick rows: trade or quote, volume, fields omitted by partial frames, two connections merged into one.

Pure; must not know bytes, files or the database.
"""
