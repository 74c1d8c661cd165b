"""Who holds the lock that a session waits for.

The server forgets it when the wait ends, so it is asked meanwhile, on a connection and a thread of its own. Must not
know what the session does.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
from psycopg.rows import class_row

from ingest.database.connections import connect
from ingest.database.queries import query
from ingest.errors import TicklineError

LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class LockHolder:
    """A session that another one waits for."""

    pid: int
    application: str
    user_name: str
    transaction_s: float | None  # age of its transaction; None: not visible to this user
    query: str | None

    def __str__(self) -> str:
        age = "of unknown age" if self.transaction_s is None else f"open for {self.transaction_s:.0f} s"
        said = f", {self.query!r}" if self.query else ""
        return f"pid {self.pid} ({self.application}, user {self.user_name!r}, transaction {age}{said})"


class LockWatch:
    """Look who holds the lock that a session waits for, while the block runs.

    Parameters
    ----------
    url
        libpq URL of a user who may see other sessions.
    pid
        Server process id of the session that may wait.

    Attributes
    ----------
    holders
        The sessions that it waited for when it was last seen waiting, the longest transaction first.
    """

    def __init__(self, url: str, pid: int) -> None:
        self.holders: list[LockHolder] = []
        self._url, self._pid = url, pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lock watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(LOOK_S)  # a server that hangs must not hang us

    def _look(self) -> None:
        """Ask again and again; whoever waits is told less if that is not possible, and nothing else is lost."""
        if self._end.wait(LOOK_S):  # most sessions wait for nobody
            return
        with (
            suppress(psycopg.Error, TicklineError),
            connect(self._url, autocommit=True) as connection,
            connection.cursor(row_factory=class_row(LockHolder)) as cursor,
        ):
            while True:
                if found := cursor.execute(query("status/lock_holders"), {"pid": self._pid}).fetchall():
                    self.holders = found
                if self._end.wait(LOOK_S):
                    return
