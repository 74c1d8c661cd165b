"""Fence: a task beside the feed that fails is said, counted and begun again; recording goes on.

What runs inside costs freshness or bars when it fails, never ticks, whatever the error is. What brings ticks (feed,
journal, consumer) is outside: an error there that nobody expected stops the process.
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

FIRST_S, MAX_S = 1.0, 60.0  # of the wait before a task begins again
SHOWN_S = 600.0  # a failure that old, with none since, is no warning any more; it stays counted


class Fence:
    """What keeps the failures of background tasks to themselves.

    Parameters
    ----------
    time_source
        How to wait, and for how long a failure is shown.
    errors
        Where the tasks' last errors are kept.

    Attributes
    ----------
    failures
        Failures so far, by task.
    """

    def __init__(self, time_source: TimeSource, errors: LastErrors | None = None) -> None:
        self.failures: Counter[str] = Counter()
        self._time_source = time_source
        self._errors = errors or LastErrors(time_source)
        self._failed_s: dict[str, float] = {}

    async def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task until it ends by itself or is cancelled; begin it again when it fails."""
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
                # The error of a foreign part has a text for people; of a fault of ours, the traceback is wanted.
                log.error(
                    "background task failed, trying again task=%s in_s=%.1f failures=%d error=%s",
                    name,
                    wait_s,
                    self.failures[name],
                    exc,
                    exc_info=not isinstance(exc, TicklineError),
                )
            await self._time_source.sleep(wait_s)
            self._errors.of(name).over()  # it runs again; how often it failed stays

    def warnings(self) -> list[str]:
        """Say what has failed lately or does not work now, for `/health`."""
        now = self._time_source.monotonic()
        lately = {name: self._errors.of(name).text for name, at in self._failed_s.items() if now - at < SHOWN_S}
        return [f"{name} failed: {text}" for name, text in (lately | self._errors.lasting()).items()]
