"""Read rows from the database or an export into frames; build wider intervals."""
