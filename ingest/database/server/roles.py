"""Roles of the embedded server: the owner of its database, and the reader.

The bootstrap superuser creates roles, the database and extensions, and does nothing else. The owner is not a superuser.
Readers log in as a third role without further rights, so their SQL can neither become another role nor reach the
server's files. Owner and reader log in without a password through a socket that only the user who runs the server can
open. That user could also log in as the superuser, but SQL cannot: it has no way into another session (no `dblink`, no
`copy ... from program`).
Must not know the relations.
"""

from __future__ import annotations

import psycopg
from psycopg import sql as psql

from ingest.database import queries

OWNER, READER = "tickline_owner", "tickline_reader"


def make(connection: psycopg.Connection[tuple[object, ...]], database: str) -> bool:
    """Create missing roles and the database; return whether the owner already owns the database.

    Parameters
    ----------
    connection
        A superuser's connection to another database, in autocommit mode.
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
    """Give the database to its owner and the right to read to the reader, in one transaction.

    Parameters
    ----------
    connection
        A superuser's connection to the database.
    """
    with connection.transaction():
        connection.execute(queries.query("database/give_to_owner"))
        connection.execute(queries.query("database/give_reading_rights"))
