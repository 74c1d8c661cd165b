"""Which minutes have new ticks, and their bars made anew: the work is in proportion to the minutes touched.

A range from the first touched minute to the last would be the whole day as soon as one row is late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import psycopg

from sql import query
from sql.database import connect, translate

MINUTE_US = 60_000_000
Range = tuple[datetime, datetime]  # half-open


class Touched:
    """The minutes of event time that rows were committed in since they were last taken.

    A session has 375 minutes, a year of replay some 100,000: that needs no limit. Not for two threads.

    Examples
    --------
    >>> touched = Touched()
    >>> touched.add(np.array([0.0, 59e6, 60e6, 600e6]))
    >>> [(start.minute, end.minute) for start, end in touched.take()]
    [(0, 2), (10, 10)]
    >>> touched.take()
    []
    """

    def __init__(self) -> None:
        self._minutes: set[int] = set()
        self._newest_us = float("-inf")

    def add(self, times_us: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        """Note the event times of rows, microseconds since the epoch."""
        self._minutes.update(np.unique(times_us // MINUTE_US).astype(np.int64).tolist())
        self._newest_us = max(self._newest_us, float(times_us.max()))

    def take(self) -> list[Range]:
        """Return the touched minutes as ranges, oldest first, neighbours in one; and begin anew.

        The last one ends behind the newest row: the rest of its minute is still to come.
        """
        minutes = np.array(sorted(self._minutes), np.int64)
        self._minutes.clear()
        runs = np.split(minutes, np.flatnonzero(np.diff(minutes) > 1) + 1) if minutes.size else []
        end_us = self._newest_us + 1
        return [(_time(run[0] * MINUTE_US), _time(min((run[-1] + 1) * MINUTE_US, end_us))) for run in runs]

    def give_back(self, ranges: Iterable[Range]) -> None:
        """Undo `take` for ranges whose bars could not be made."""
        for start, end in ranges:
            self._minutes.update(range(math.floor(start.timestamp() / 60), math.ceil(end.timestamp() / 60)))


def refresh_bars(url: str, ranges: list[Range]) -> None:
    """Make the bars of ranges anew, one-minute then five-minute; what is done leaves the list.

    Raises
    ------
    StoreError
        If the database cannot be written: the list has what is left to do.
    """
    if not ranges:
        return
    with connect(url, autocommit=True, application_name="tickline bars") as connection:
        try:
            while ranges:
                start, end = ranges[0]
                connection.execute(query("refresh_bars"), {"from_ts": start, "to_ts": end})
                del ranges[0]
        except psycopg.Error as exc:
            raise translate(exc) from exc


def _time(epoch_us: float) -> datetime:
    return datetime.fromtimestamp(epoch_us / 1e6, UTC)
