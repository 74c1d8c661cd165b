"""Make a database ready: running, with its schema, and checked.

Decides when a schema is created or migrated without a command. Must not know who uses the database.
"""

from __future__ import annotations

import threading

from ingest.database.connections import HEAD, Database, revision, translated
from ingest.database.settings import DatabaseSettings
from ingest.database.upgrade import upgrade
from ingest.errors import ConfigError, Retryable, StoreError, TicklineError
from ingest.worker_thread import in_background


class SlowError(Retryable):
    """The database may still become ready."""


def ready_database(settings: DatabaseSettings) -> Database:
    """Open the database, ready to use; see `make_ready`."""
    database = Database.place(settings)
    try:
        make_ready(database)
    except BaseException:
        database.close()
        raise
    return database


def make_ready(database: Database) -> None:
    """Start the database; create the schema if there is none, migrate it if the database is only ours.

    An embedded database belongs to this program and is migrated. Another server's database is only
    filled if it is empty; `tickline db upgrade` migrates it.

    Raises
    ------
    ConfigError
        If the settings want another engine than the database has, or one that is not available.
    StoreError
        If it is away, or its schema is not the one this program is written for.
    """
    database.bring_up()
    with translated(), database.connect() as connection:
        found = revision(connection)
    if found is None or (database.server is not None and found != HEAD):
        upgrade(database)
    database.check()


class Readiness:
    """Make a database ready, now or later; concurrent callers wait for the one that tries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()

    def __call__(self) -> None:
        """Make it ready; raises like `make_ready`."""
        with self._turn:
            make_ready(self._database)

    def attempt(self, within_s: float) -> TicklineError | None:
        """Make it ready; return why it is not. An attempt that takes longer continues in the background."""
        try:
            in_background("readiness", self).result(within_s)
        except TimeoutError:
            return SlowError(f"database is not ready after {within_s:g} s: see `tickline db status`")
        except (StoreError, ConfigError) as exc:
            return exc
        return None
