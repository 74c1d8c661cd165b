"""The roles of the embedded server: who owns its database, and who reads.

The bootstrap superuser makes roles, the database and extensions, and nothing else. The database belongs to a role that
is no superuser; what reads logs in as another, which has no right to give back: whatever its SQL calls, it can neither
become somebody else nor reach the server's files. Both log in without a password, through a socket that only the user
who runs the server can reach; that user could log in as the superuser, too, but SQL cannot: it has no way to another
session (no `dblink`, no `copy ... from program`).
Must not know the relations.
"""

from __future__ import annotations

import psycopg
from psycopg import sql as psql

from ingest.database import queries

OWNER, READER = "tickline_owner", "tickline_reader"


def make(connection: psycopg.Connection[tuple[object, ...]], database: str) -> bool:
    """Make the roles and the database where they are missing; return whether the database is its owner's already.

    Parameters
    ----------
    connection
        A superuser's, in autocommit, to another database.
    database
        Name of the database.
    """
    for role in (OWNER, READER):
        if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
            connection.execute(psql.SQL("create role {} login").format(psql.Identifier(role)))
    found = connection.execute(
        "select datdba = %s::regrole from pg_database where datname = %s", (OWNER, database)
    ).fetchone()
    if found is None:
        connection.execute(psql.SQL("create database {}").format(psql.Identifier(database)))
    return found == (True,)


def give(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Give a database to its owner, and to the reader the right to read, all or nothing.

    Parameters
    ----------
    connection
        A superuser's, to the database.
    """
    with connection.transaction():
        connection.execute(queries.query("database/give_to_owner"))
        connection.execute(queries.query("database/give_reading_rights"))
