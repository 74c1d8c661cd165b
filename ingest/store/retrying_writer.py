"""Retrying writer: repeat the calls of a writer for as long as the database is away.

Owns which errors are retried, the waits, and the log lines. Owns the writer's thread too: the methods block,
so coroutines call them through `run`. While it waits nothing is lost: the records are in the
journal, and the consumer pauses with at most three batches.
"""

from __future__ import annotations

import logging
import math
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from datetime import date
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from ingest.backoff import backoff_s
from ingest.errors import ConfigError, Retryable, StoreError, TicklineError
from ingest.last_error import LastError
from ingest.model.records import Position
from ingest.model.ticks import InstrumentRef
from ingest.settings import Settings
from ingest.store.batch import Batch, Resume
from ingest.store.ledger import Values
from ingest.store.writer import CollectorInUseError, Writer
from ingest.worker_thread import WorkerThread, in_background

log = logging.getLogger(__name__)

CLOSE_S = 5.0  # a thread whose connection was aborted ends at once
SAY_AGAIN_S = 60.0  # how often a lasting error is logged; an outage of a day has thousands of attempts
STOP_POLL_S = 0.1  # how soon a stop is noticed while connecting

_NUMBERS = re.compile(r"\d+")

P = ParamSpec("P")
T = TypeVar("T")


class Abandoned(StoreError):
    """The process is stopping and no longer waits for the database."""


class RetryingWriter:
    """The methods of a `Writer`, each repeated until it succeeds.

    Parameters
    ----------
    writer
        A writer, connected or not, for the exclusive use of this object. Several streams may share this object: they
        take turns, and through `run` in the order of their calls.
    first_s, max_s
        Wait after the first failure, and the longest wait, seconds.

    Attributes
    ----------
    away_since
        When the database was lost or not found, by the monotonic clock, seconds; None while it is there.
    failures
        Failed attempts in a row.
    """

    stores = True  # False: what is written goes nowhere, so rows need not be encoded

    def __init__(self, writer: Writer, *, first_s: float, max_s: float) -> None:
        self.writer = writer
        self.away_since: float | None = None
        self.failures = 0
        self.error = LastError()
        self._first_s, self._max_s = first_s, max_s
        self._rng = random.Random()  # noqa: S311  jitter is not a secret
        self._abandoned = threading.Event()
        self.given_up = False  # a stop no longer waits for the database
        self._thread = WorkerThread("writer")
        self._turn = threading.RLock()  # its holder uses the writer, on the writer's thread or another
        self._said, self._said_at = "", 0.0  # the error that was logged last, by the monotonic clock
        self._attempt: Future[None] | None = None  # to connect, on a thread that a stop leaves behind

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the writer once no thread uses it: closing frees the connection that a thread may still wait on."""
        self._abandoned.set()
        self._thread.close()
        if not self._turn.acquire(blocking=False):
            self.writer.abort()
            if not self._turn.acquire(timeout=CLOSE_S):
                log.error("writer is still in use, its connection ends with the process within_s=%g", CLOSE_S)
                return
        if self._attempt is None or self._attempt.done():
            self.writer.close()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that uses the writer on the writer's thread, after earlier calls; return its result.

        If the wait is cancelled, a call that has begun is still finished before the next one; one that has not begun
        is dropped.
        """
        return await self._thread.run(self._in_turn, partial(call, *args, **kwargs))

    def write(self, batch: Batch, stream: str) -> None:
        """Commit a batch, no matter how long it takes; see `Writer.write`."""
        self._insist(lambda: self.writer.write(batch, stream))

    def register(self, instrument_keys: Sequence[str], day: date, unknown_max: int) -> list[InstrumentRef]:
        """Return the instruments that keys mean; see `Writer.register`."""
        return self._insist(lambda: self.writer.register(instrument_keys, day, unknown_max))

    def recall(self, stream: str, first_seq: int, last_seq: int) -> tuple[list[InstrumentRef], Values]:
        """Return the last tick of each instrument in a range of records; see `Ledger.recall`."""
        return self._insist(lambda: self.writer.ledger.recall(stream, first_seq, last_seq))

    @property
    def is_away(self) -> bool:
        """Whether the database is away, as far as the writer knows."""
        return self.away_since is not None

    @property
    def is_askable(self) -> bool:
        """Whether the database may be asked something: there is one, and it is not away."""
        return not self.is_away

    def meet(self, within_s: float) -> bool:
        """Connect for the first time, within `within_s` seconds; return whether the database is there.

        If it is not, later calls wait for it, as in any other outage.

        Raises
        ------
        CollectorInUseError
            If another process writes under this collector name.
        """
        with self._turn:
            try:
                self._reconnect(within_s)
            except CollectorInUseError:
                raise
            except (StoreError, ConfigError) as exc:
                self._note_failure(exc)
                log.log(_level(exc), "database is away, recording continues without it error=%s", exc)
                return False
            return True

    def resume(self, stream: str, *, unused_seq: int | None = None) -> Resume:
        """Return where a stream resumes; see `Ledger.resume`.

        Records from `unused_seq` on were numbered without the ledger. If the ledger already has such records, it
        belongs to another journal, and this waits until another database answers.
        """

        def resume() -> Resume:
            found = self.writer.ledger.resume(stream)
            if unused_seq is not None and found.last_seq >= unused_seq:
                raise StoreError(
                    f"ledger has records of stream {stream!r} up to seq {found.last_seq}, but records written "
                    f"without the database begin with {unused_seq}: replay them with another TICKLINE_COLLECTOR"
                )
            return found

        return self._insist(resume)

    def resume_now(self, stream: str) -> Resume | None:
        """Return where a stream resumes, without a wait; None: the database is away."""
        if self.is_away:
            return None
        try:
            return self.writer.ledger.resume(stream)
        except StoreError as exc:
            log.warning("ledger cannot be read, recording goes on without it stream=%s error=%s", stream, exc)
            return None

    def checkpoint(self, stream: str, position: Position, state: bytes) -> None:
        """Store the state at a committed position; see `Writer.checkpoint`."""
        self._insist(lambda: self.writer.checkpoint(stream, position, state))

    def give_up(self) -> None:
        """Record that a stop no longer waits for the database."""
        self.given_up = True

    def abandon(self) -> None:
        """End the running call from another thread; the call raises `Abandoned`."""
        self.give_up()
        self._abandoned.set()
        self.writer.abort()

    def _insist(self, action: Callable[[], T]) -> T:
        """Repeat an action until it succeeds; only errors that are not the store's end it."""
        return self._in_turn(lambda: self._until_it_succeeds(action))

    def _in_turn(self, call: Callable[[], T]) -> T:
        with self._turn:
            return call()

    def _until_it_succeeds(self, action: Callable[[], T]) -> T:
        while not self._abandoned.is_set():
            try:
                if self.failures or not self.writer.connected:
                    self._reconnect()
                result = action()
            except (StoreError, ConfigError) as exc:
                self._wait(exc)
            else:
                self._note_success()
                return result
        raise Abandoned("stopped before everything was committed: the rest is in the journal, start again")

    def _reconnect(self, within_s: float = math.inf) -> None:
        """Connect, or wait for the running attempt; after `within_s` seconds the database counts as away.

        An attempt cannot be aborted, so a stop leaves it behind, on a thread that ends with the process.
        """
        attempt = self._attempt = self._attempt or in_background("reconnect", self.writer.reconnect)
        deadline = time.monotonic() + within_s
        while not wait([attempt], timeout=min(STOP_POLL_S, within_s)).done:
            if self._abandoned.is_set():
                raise Abandoned("stopped while connecting to the database: start again when it is back")
            if time.monotonic() > deadline:
                raise Retryable(f"database did not answer within {within_s:g} s: see `tickline db status`")
        self._attempt = None
        attempt.result()

    def _wait(self, error: TicklineError) -> None:
        if self._abandoned.is_set():
            return
        self._note_failure(error)
        wait_s = backoff_s(self.failures, self._rng, first_s=self._first_s, max_s=self._max_s)
        log.log(
            _level(error) if self._is_news(error) else logging.DEBUG,
            "database refuses, trying again in_s=%.1f failures=%d error=%s",
            wait_s,
            self.failures,
            error,
        )
        self._abandoned.wait(wait_s)

    def _is_news(self, error: TicklineError) -> bool:
        """Tell whether to log an error: a lasting error is logged only now and then."""
        now, text = time.monotonic(), _NUMBERS.sub("", str(error))  # the server's lines contain times and process ids
        if text == self._said and now - self._said_at < SAY_AGAIN_S:
            return False
        self._said, self._said_at = text, now
        return True

    def _note_failure(self, error: TicklineError) -> None:
        self.failures += 1
        self.error.happened(error)
        if self.away_since is None:
            self.away_since = time.monotonic()

    def _note_success(self) -> None:
        if self.away_since is not None:
            away_s = time.monotonic() - self.away_since
            log.info("database is back away_s=%.1f failures=%d", away_s, self.failures)
            self.away_since, self.failures, self._said = None, 0, ""
            self.error.over()


def retrying_writer(writer: Writer, settings: Settings) -> RetryingWriter:
    """Return a retrying writer with the waits of the settings."""
    return RetryingWriter(writer, first_s=settings.database_backoff_first_s, max_s=settings.database_backoff_max_s)


def _level(error: TicklineError) -> int:
    """Return the log level: ERROR if only a person can fix it; it is retried too, and recording continues meanwhile."""
    return logging.WARNING if isinstance(error, Retryable) else logging.ERROR
