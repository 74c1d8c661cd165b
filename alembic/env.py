"""Run the revisions: on the connection of `ingest.database.upgrade.upgrade`, or for the command `alembic`.

Entry point of Alembic. The command uses the database of the settings. It upgrades as `tickline db upgrade` does; it
refuses to downgrade, and to print SQL, which `sql/ddl/` has.
"""

from __future__ import annotations

import logging
from typing import Any

from alembic import context
from alembic.util import CommandError

from ingest.database.connections import Database, translated
from ingest.database.settings import DatabaseSettings, load
from ingest.database.upgrade import alchemy_connection, migration
from ingest.errors import TicklineError
from ingest.redaction import fence_output

NO_DOWNGRADE = (
    "there is no downgrade, because an older program cannot keep what a newer one has stored: install the newer "
    "program, or restore a backup (`tickline db restore`)"
)
NO_SQL = "SQL is not printed, because it depends on the database's engine: read sql/ddl/"


def run(connection: Any) -> None:
    """Run the command's revisions, or its question, on a connection."""
    context.configure(connection=connection, version_table_schema="tickline", transactional_ddl=True)
    context.run_migrations()


def run_command(command: str) -> None:
    """Run a command of `alembic` on the database of the settings."""
    if command == "downgrade":
        raise CommandError(NO_DOWNGRADE)
    if context.is_offline_mode():
        raise CommandError(NO_SQL)
    try:
        with translated(), Database.open(load(DatabaseSettings)) as database:
            if command == "upgrade":
                with migration(database) as (connection, _):
                    run(connection)
                return
            with alchemy_connection(database, lock_timeout_s=database.upgrade_lock_timeout_s) as connection:
                run(connection)
    except TicklineError as exc:
        raise CommandError(str(exc)) from exc


def name_of_command() -> str:
    """Return the command's name; "" in a program that calls Alembic."""
    given = getattr(context.config.cmd_opts, "cmd", None)
    return str(given[0].__name__) if given else ""


if (passed := context.config.attributes.get("connection")) is not None:
    run(passed)
else:
    fence_output()
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
    run_command(name_of_command())
