"""Fence: log, count and restart a failed background task while recording continues.

A failure of a task inside the fence costs freshness or bars, never ticks. The tasks that carry ticks (feed, journal,
consumer) are outside: an unexpected error there stops the process.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from ingest.backoff import backoff_s
from ingest.errors import TicklineError
from ingest.last_error import LastErrors
from ingest.time_source import TimeSource

log = logging.getLogger(__name__)

FIRST_S, MAX_S = 1.0, 60.0  # first and longest wait before a task restarts
SHOWN_S = 600.0  # how long a failure is shown as a warning; its count stays


class Fence:
    """Contain the failures of background tasks.

    Parameters
    ----------
    time_source
        Clock for waits, and for the time a failure is shown.
    errors
        Receives the last error of each task.

    Attributes
    ----------
    failures
        Number of failures so far, by task.
    """

    def __init__(self, time_source: TimeSource, errors: LastErrors | None = None) -> None:
        self.failures: Counter[str] = Counter()
        self._time_source = time_source
        self._errors = errors or LastErrors(time_source)
        self._failed_s: dict[str, float] = {}

    async def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it ends by itself or is cancelled; restart it when it fails."""
        in_a_row = 0
        while True:
            began = self._time_source.monotonic()
            try:
                await work()
                return
            except Exception as exc:
                now = self._time_source.monotonic()
                in_a_row = in_a_row + 1 if now - began < SHOWN_S else 1
                wait_s = backoff_s(in_a_row, random.Random(), first_s=FIRST_S, max_s=MAX_S)  # noqa: S311
                self.failures[name] += 1
                self._failed_s[name] = now
                self._errors.of(name).happened(f"{type(exc).__name__}: {exc}")
                # A TicklineError explains itself; any other error is a bug of ours and needs its traceback.
                log.error(
                    "background task failed, trying again task=%s in_s=%.1f failures=%d error=%s",
                    name,
                    wait_s,
                    self.failures[name],
                    exc,
                    exc_info=not isinstance(exc, TicklineError),
                )
            await self._time_source.sleep(wait_s)
            self._errors.of(name).over()  # it runs again; the count stays

    def failed(self) -> dict[str, str]:
        """Return the tasks that failed recently or do not work now, with their errors' texts."""
        now = self._time_source.monotonic()
        lately = {name: self._errors.of(name).text for name, at in self._failed_s.items() if now - at < SHOWN_S}
        return lately | self._errors.lasting()
