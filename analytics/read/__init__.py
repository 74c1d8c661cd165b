"""Rows out of the database, or out of an export, into frames; wider intervals."""
