"""The vendor's REST API: paths, token, rate of requests, the meaning of its answers.

Must not know the socket, the journal or the database.
"""
