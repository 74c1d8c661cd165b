"""The embedded PostgreSQL server: its processes, files, settings, users and roles."""
