"""Roles of a database: its owner, the writer that records, and the reader.

Owns who may do what: on the embedded server, whose roles are made when it starts, and on a server of a URL after
`tickline db upgrade --with-roles`. The owner is not a superuser. A reader can neither become another role nor reach the
server's files, other sessions or locks.
On the embedded server all three log in without a password, through a socket that only the user who runs the server can
open. That user could also log in as the superuser, but SQL cannot: it has no way into another session (no `dblink`, no
`copy ... from program`). The superuser creates roles, the database and extensions, and does nothing else.
Must not know the relations.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql as psql

from ingest.database import queries
from ingest.database.translation import first_line
from ingest.errors import ConfigError

log = logging.getLogger(__name__)

OWNER, WRITER, READER = "tickline_owner", "tickline_writer", "tickline_reader"


def make(connection: psycopg.Connection[tuple[object, ...]], database: str) -> bool:
    """Create missing roles and the database of the embedded server; return whether `give` has run before.

    Parameters
    ----------
    connection
        A superuser's connection to another database, in autocommit mode.
    database
        Name of the database.
    """
    for role in (OWNER, WRITER, READER):
        if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
            connection.execute(psql.SQL("create role {} login").format(psql.Identifier(role)))
    found = connection.execute(
        "select datdba = %s::regrole and exists (select from aclexplode(datacl) where grantee = %s::regrole) "
        "from pg_database where datname = %s",
        (OWNER, WRITER, database),
    ).fetchone()
    if found is None:
        connection.execute(psql.SQL("create database {}").format(psql.Identifier(database)))
    return found == (True,)


def own(connection: psycopg.Connection[Any]) -> None:
    """Make the owner the owner of the embedded server's database itself; see `give`."""
    connection.execute(
        psql.SQL("alter database {} owner to {}").format(
            psql.Identifier(connection.info.dbname), psql.Identifier(OWNER)
        )
    )


def check_may_create(connection: psycopg.Connection[Any]) -> None:
    """Raise `ConfigError` if this login may not create roles; says which may."""
    row = connection.execute("select rolsuper or rolcreaterole from pg_roles where rolname = current_user").fetchone()
    if row != (True,):
        raise ConfigError(
            f"user {connection.info.user!r} may not create roles: run `tickline db upgrade --with-roles` with the URL "
            "of a superuser, or of the owner of the database with CREATEROLE, in TICKLINE_DATABASE_URL"
        )


def prepare(connection: psycopg.Connection[Any], passwords: Mapping[str, str]) -> None:
    """Create missing roles on a server of a URL, and give existing objects to the owner.

    Parameters
    ----------
    connection
        An autocommit connection to the database, of a role that may create roles.
    passwords
        Passwords by role; such a role may log in.

    Raises
    ------
    ConfigError
        If another login made the roles, and this one may not grant them.
    """
    try:
        with connection.transaction():
            connection.execute(queries.query("roles/make_roles"))
            for role, password in passwords.items():
                # Only the verifier is sent, so the password cannot be in the server's log.
                verifier = connection.pgconn.encrypt_password(password.encode(), role.encode()).decode()
                connection.execute(
                    psql.SQL("alter role {} login password {}").format(psql.Identifier(role), psql.Literal(verifier))
                )
            connection.execute(queries.query("roles/prepare_owner"))
            connection.execute(queries.query("roles/give_to_owner"))
    except psycopg.errors.InsufficientPrivilege as exc:
        raise ConfigError(
            f"user {connection.info.user!r} may not do what roles need: {first_line(exc)}: run `tickline db upgrade "
            "--with-roles` as a superuser, or as the owner of the database and its relations who made the roles"
        ) from exc


def give(connection: psycopg.Connection[Any]) -> None:
    """Give our objects to the owner and each role its rights, in one transaction.

    Parameters
    ----------
    connection
        A connection to the database, of a superuser or of a role that may create roles. One that is no superuser
        cannot take functions from everybody; a warning says so.
    """
    with connection.transaction():
        connection.execute(queries.query("roles/give_to_owner"))
        if connection.execute("select to_regclass('tickline.installation') is not null").fetchone() == (True,):
            connection.execute(queries.query("roles/join_writer"))
        connection.execute(queries.query("roles/give_rights"))
        if connection.info.parameter_status("is_superuser") == "on":
            connection.execute(queries.query("roles/limit_public"))
        else:
            log.warning(
                "user %r is no superuser: readers could still use session locks, large objects and temporary tables; "
                "run `tickline db upgrade --with-roles` as a superuser, or let them read through `tickline sql` only",
                connection.info.user,
            )


def are_there(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has our roles, of this or another database."""
    return connection.execute("select to_regrole(%s) is not null", (OWNER,)).fetchone() == (True,)


def renew(connection: psycopg.Connection[Any]) -> None:
    """Give each role its rights to what an upgrade has added, if this database has our roles.

    Parameters
    ----------
    connection
        A connection that acts as the owner of the relations.
    """
    if connection.execute("select current_user").fetchone() == (OWNER,):
        with connection.transaction():
            connection.execute(queries.query("roles/give_rights"))
