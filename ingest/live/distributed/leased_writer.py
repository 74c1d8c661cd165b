"""Leased writer: a writer that gives way. It writes while it holds its collector's lease, and never after.

A `RetryingWriter` waits for its database and goes on. This one ends with the first error: another process may have
written meanwhile, so whoever wants to go on takes the lease again and begins where the ledger ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import psycopg

from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.errors import ConfigError, StoreError, TicklineError
from ingest.settings import Settings
from ingest.store.lease import Heartbeat
from ingest.store.retrying_writer import Abandoned, RetryingWriter
from ingest.store.side_limits import side_limits
from ingest.store.writer import Writer

T = TypeVar("T")
HELD_S_MAX = 2.0  # how long one try waits for a lease that another holds


class LeaseLostError(TicklineError):
    """The lease, or the connection that held it, is lost; nothing is written any more."""


class LeasedWriter(RetryingWriter):
    """The writer of one collector, for as long as its lease lasts.

    Parameters
    ----------
    settings, url
        Settings, and URL of the database.
    collector
        Name of the collector.

    Attributes
    ----------
    is_lost
        Whether the lease is lost.
    database
        Identity of the database, for the collector's cursor.
    """

    def __init__(self, settings: Settings, url: str, collector: str) -> None:
        writing = Writer(url, collector, side_limits=side_limits(settings), lease_within_s=HELD_S_MAX)
        super().__init__(writing, first_s=settings.database_backoff_first_s, max_s=settings.database_backoff_max_s)
        self.is_lost = False
        self.database = ""
        self._beating: Heartbeat | None = None

    def take(self) -> None:
        """Connect and take the lease; call it through `run`, once.

        Raises
        ------
        CollectorInUseError
            If another process holds it, and lives.
        StoreError
            If the database is away, or refuses.
        """
        self.writer.reconnect()
        self._beating = Heartbeat(self._beat)
        with translated():
            found = self.writer.ledger.connection.execute(query("lease/database_identity")).fetchone()
        self.database = str(found[0]) if found else ""

    def close(self) -> None:
        """Give the lease back."""
        if self._beating is not None:
            self._beating.close()
        super().close()

    def _until_it_succeeds(self, action: Callable[[], T]) -> T:
        if self.is_lost:
            raise LeaseLostError(f"lease of collector {self.writer.collector!r} is lost")
        if self._abandoned.is_set():
            raise Abandoned("stopped before everything was committed: the rest is in the journal, start again")
        try:
            return action()
        except (StoreError, ConfigError) as exc:
            self.is_lost = True
            self._note_failure(exc)
            if self._abandoned.is_set():
                raise Abandoned("stopped before everything was committed: the rest is in the journal") from exc
            raise LeaseLostError(f"collector {self.writer.collector!r} is no longer written here: {exc}") from exc

    def _beat(self) -> None:
        """Say something on the connection, unless it is in use, which says enough."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            self.writer.speak()
        except psycopg.Error as exc:
            self._note_failure(StoreError(str(exc).splitlines()[0] if str(exc) else "connection lost"))
            self.is_lost = True
        finally:
            self._turn.release()
