"""Parts of the embedded PostgreSQL server: its processes, settings, users and roles."""
