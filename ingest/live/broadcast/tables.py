"""Tables: bars and signals as they come into the database, looked at once for all clients.

A bar is sent after its minute, and again when it has changed: the vendor's own bar comes up to a minute later, a repair
later still. The last one counts. Minutes are those of the feed's clock, so that a recording of another day works too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json

from ingest.database.questions import Questions
from ingest.live.broadcast.encoding import Encoded
from ingest.market.time import utc_of_us

BAR_COLUMNS = (
    "instrument_key", "symbol", "bucket", "open", "high", "low", "close", "volume", "oi", "ticks", "source", "quality",
)  # fmt: skip
SIGNAL_COLUMNS = (
    "instrument_key", "symbol", "bucket", "rule_set", "direction", "confidence", "score", "price", "reasons",
    "created_at", "severity", "members",
)  # fmt: skip
MINUTE = timedelta(minutes=1)
BARS_LOOKED_AT = 5 * MINUTE  # how late a bar may change and still be sent again
SNAPSHOT_BARS = timedelta(hours=1)  # how old the last bar of an instrument may be
HISTORY = timedelta(days=1)  # how far back bars and signals are read for a client that resumes
COMMIT_S = 30  # how long after its `created_at` a signal may be committed
BARS_MAX = 50_000  # rows in one answer
SIGNALS_MAX = 5_000
SLICE_ROWS = 50  # encoded at once

Row = tuple[Any, ...]


async def bars_between(
    questions: Questions, keys: Sequence[str] | None, start: datetime, end: datetime
) -> list[tuple[Row, bytes]]:
    """Return the best bars of minutes that begin in a range, by time: each as values, and as JSON.

    Raises
    ------
    StoreError
        If the database is away.
    """
    parameters = {"instrument_keys": keys, "start": start, "end": end, "rows_max": BARS_MAX}
    return await _encoded(await questions.rows("stream/bars_of_minutes", parameters))


async def signals_since(
    questions: Questions, keys: Sequence[str] | None, since: datetime, created_after_us: int
) -> list[tuple[Row, bytes]]:
    """Return the signals of minutes from `since` on that were found after a time, oldest first.

    Raises
    ------
    StoreError
        If the database is away.
    """
    parameters = {
        "instrument_keys": keys,
        "since": since,
        "created_after": utc_of_us(created_after_us),
        "rows_max": SIGNALS_MAX,
    }
    return await _encoded(await questions.rows("stream/signals_since", parameters))


class BarTail:
    """Bars that are new or have changed since the last look."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._sent: dict[tuple[str, datetime], bytes] = {}
        self.until: datetime | None = None  # end of the newest minute that was looked at

    async def look(self, keys: Sequence[str] | None, at: datetime) -> list[Encoded] | None:
        """Return new and changed bars of the minutes before a time; None: no minute has ended since the last look."""
        end = at.replace(second=0, microsecond=0)
        if self.until is not None and end <= self.until:
            return None
        found = await bars_between(self._questions, keys, end - BARS_LOOKED_AT, end)
        fresh: list[Encoded] = []
        for row, text in found:
            place = row[0], row[2]
            if self._sent.get(place) != text:
                self._sent[place] = text
                if (
                    self.until is not None or row[2] >= end - MINUTE
                ):  # the first look is no news, except its last minute
                    fresh.append((row[0], 0, text))
        self._sent = {place: text for place, text in self._sent.items() if place[1] >= end - BARS_LOOKED_AT}
        self.until = end
        return fresh


class SignalTail:
    """Signals that were found since the last look."""

    def __init__(self, questions: Questions, now_us: int) -> None:
        self._questions = questions
        self.until_us = now_us
        self._began_us = now_us - COMMIT_S * 1_000_000  # a client that came before the first look has had no older ones
        self._sent: dict[tuple[Any, ...], int] = {}  # key, bucket and rule set -> created_at

    async def look(self, keys: Sequence[str] | None, at: datetime) -> list[Encoded]:
        """Return the new signals, oldest first. One that is committed late is found too."""
        since_us = self.until_us - COMMIT_S * 1_000_000
        fresh: list[Encoded] = []
        for row, text in await signals_since(self._questions, keys, at - HISTORY, since_us):
            place, created_us = (row[0], row[2], row[3]), int(row[9].timestamp() * 1_000_000)
            if place not in self._sent and created_us > self._began_us:
                fresh.append((row[0], 0, text))
            self._sent[place] = created_us
        if fresh:  # it grows with each look that finds something, also if that was committed late
            self.until_us = max(self.until_us + 1, *self._sent.values())
        self._sent = {place: us for place, us in self._sent.items() if us > since_us}
        return fresh


async def _encoded(rows: Sequence[Row]) -> list[tuple[Row, bytes]]:
    """Return rows with their JSON; the event loop gets its turn in between."""
    found = []
    for place, row in enumerate(rows):
        found.append((row, _json(row)))
        if place % SLICE_ROWS == SLICE_ROWS - 1:
            await asyncio.sleep(0)
    return found


def _json(row: Row) -> bytes:
    return to_json([_plain(value) for value in row], inf_nan_mode="null")


def _plain(value: Any) -> Any:
    """Return a time in the form of the ticks: UTC, microseconds."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    return value
