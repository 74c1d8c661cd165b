"""Lease: a lock of the database whose holder must speak, so that another takes over when it dies or freezes.

The lock belongs to a session. A process that dies loses it at once. One that is frozen, or whose machine or network is
gone, keeps its session; so a holder promises to say something each second, and who waits for the lock ends the session
of a holder that has been silent for longer. What is committed goes over the same session: a holder that wakes up finds
its connection broken, and cannot write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg

from ingest.database.connections import NOTICE_A_DEAD_PEER, break_off, connect, translated
from ingest.database.queries import query

log = logging.getLogger(__name__)

CLOSE_S = 1.0  # how long a heartbeat that was broken off may take to end
BEAT_S = 1.0
SILENT_S = 3.0  # of a holder between two statements; three beats
COPYING_S = 15.0  # of a holder within a statement: a large batch over a slow line takes seconds
POLL_S = 0.1  # between two tries of who waits: a takeover takes as long
LOOK_S = 0.5  # between two looks for a silent holder


class Lock(NamedTuple):
    """A kind of lock: the class of its number, and the statement that takes it."""

    number: int
    statement: str


COLLECTOR = Lock(7469, "ledger/lock_collector")
ONCE = Lock(7471, "lease/lock_once")


def take(connection: psycopg.Connection[Any], kind: Lock, name: str) -> bool:
    """Take a lock for the life of a connection, and promise to speak; return whether it was free."""
    found = connection.execute(query(kind.statement), {"collector": name, "name": name}).fetchone()
    if found != (True,):
        return False
    connection.execute(query("lease/mark_lease"), {"name": name})
    return True


def take_within(
    connection: psycopg.Connection[Any],
    kind: Lock,
    name: str,
    within_s: float,
    is_over: Callable[[], bool] = lambda: False,
) -> bool:
    """Try for a time, or until it is over, to take a lock; return whether it is taken.

    The session of a silent holder is ended.
    """
    began_s = looked_s = time.monotonic()
    while not take(connection, kind, name):
        now_s = time.monotonic()
        if now_s - looked_s >= LOOK_S:
            looked_s = now_s
            given = {"lock_class": kind.number, "name": name, "silent_s": SILENT_S, "copying_s": COPYING_S}
            for pid, silent_s, ended in connection.execute(query("lease/end_silent_holder"), given).fetchall():
                log.warning(
                    "holder of a lease was silent, its session is ended lease=%r pid=%d silent_s=%.1f ended=%s",
                    name,
                    pid,
                    silent_s,
                    ended,
                )
            continue
        if now_s - began_s >= within_s or is_over():
            return False
        time.sleep(POLL_S)
    return True


class DatabaseLease:
    """A lease with a connection of its own, for work that is done once per database. Its methods block.

    Parameters
    ----------
    url
        Database URL.
    name
        Of the lease.

    Attributes
    ----------
    is_lost
        True once it can no longer be held.
    """

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.is_lost = False
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        self._beating: Heartbeat | None = None
        self._is_over = False
        self._lock = threading.Lock()  # of the connection
        self._taking = threading.Lock()  # held while it is taken

    def take(self, within_s: float) -> bool:
        """Try for a time to take it; return whether it is held. Raises StoreError or ConfigError."""
        with self._taking:
            return not self._is_over and self._take(within_s)

    def _take(self, within_s: float) -> bool:
        connection = connect(self._url, autocommit=True, application_name="tickline once", **NOTICE_A_DEAD_PEER)
        try:
            with translated():
                if not take_within(connection, ONCE, self.name, within_s, lambda: self._is_over):
                    connection.close()
                    return False
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        if self._is_over:  # closed meanwhile
            connection.close()
            return False
        self._beating = Heartbeat(self._beat)
        return True

    def close(self) -> None:
        """Give it back, also one that is just being taken; the session has ended then, if the server answers."""
        self._is_over = True
        if not self._taking.acquire(timeout=CLOSE_S):
            return  # the thread that is taking it sees this, and closes its connection
        self._taking.release()
        if self._beating is not None:
            self._beating.close()
        if self._connection is None:
            return
        if not self._lock.acquire(blocking=False):  # a server that hangs does not answer the heartbeat
            break_off(self._connection)
            if not self._lock.acquire(timeout=CLOSE_S):
                return  # the connection ends with the process
        try:
            self._connection.close()
        finally:
            self._lock.release()

    def _beat(self) -> None:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self.is_lost = True
                return
            try:
                self._connection.execute("select 1")
            except psycopg.Error as exc:
                log.warning("lease is lost lease=%r error=%s", self.name, str(exc).splitlines()[0])
                self.is_lost = True


class Heartbeat:
    """Call something each second on a thread of its own, until closed, whatever the event loop does.

    Parameters
    ----------
    beat
        What is called; it must not block for long.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._over = threading.Event()
        threading.Thread(target=self._along, name="heartbeat", daemon=True).start()

    def close(self) -> None:
        """End it; a call may still run."""
        self._over.set()

    def _along(self) -> None:
        while not self._over.wait(BEAT_S):
            self._beat()
