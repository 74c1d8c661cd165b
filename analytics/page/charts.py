"""The bars and signals of charts, each read once however many browsers show it."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from analytics.page.database import Store
from analytics.read.intervals import interval_minutes

# Interval -> calendar days before the newest session: some hundreds of bars each.
DAYS = {"1m": 4, "5m": 10, "15m": 30, "30m": 60, "1h": 90, "1d": 730}
AHEAD = timedelta(days=366)  # the simulator's market may be ahead of this machine's clock
BARS_MAX = 3_000


class Asked(NamedTuple):
    """What a chart shows."""

    instrument_id: int
    interval: str


@dataclass(slots=True)
class Chart:
    """Bars and signals of one instrument and interval.

    Attributes
    ----------
    bars
        By start (milliseconds since 1970): start, open, high, low, close, volume, quality, source.
    signals
        Start, direction, confidence, price and reason of each.
    version
        Raised with each change.
    from_ms
        Start of the oldest bar that changed last, milliseconds; all bars from it on are new to a browser that has
        the version before.
    """

    bars: dict[int, list[Any]] = field(default_factory=dict)
    signals: list[list[Any]] = field(default_factory=list)
    version: int = 0
    from_ms: int = 0


class Charts:
    """All charts that are shown.

    Parameters
    ----------
    store
        The database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._charts: dict[Asked, Chart] = {}
        self._shown: Counter[Asked] = Counter()
        self._turn = asyncio.Lock()

    async def show(self, asked: Asked, session: datetime) -> Chart:
        """Return a chart and keep it current until `hide`; `session`: midnight of the newest session.

        Raises
        ------
        TicklineError
            If the database does not answer.
        """
        async with self._turn:
            if asked not in self._charts:
                chart = Chart()
                await self._read(asked, chart, session - timedelta(days=DAYS[asked.interval]))
                self._charts[asked] = chart
            self._shown[asked] += 1
            return self._charts[asked]

    def hide(self, asked: Asked) -> None:
        """End a use of a chart."""
        self._shown[asked] -= 1
        if self._shown[asked] <= 0:
            del self._shown[asked]
            self._charts.pop(asked, None)

    async def refresh(self) -> None:
        """Read the newest bars and signals of all charts that are shown; raises as `show` does."""
        async with self._turn:
            for asked, chart in list(self._charts.items()):
                # The last bar changes; the one before may still be corrected by the exchange's own.
                starts = sorted(chart.bars)[-3:]
                since = _time(starts[0]) if starts else datetime.now(UTC) - timedelta(days=DAYS[asked.interval])
                await self._read(asked, chart, since)

    async def _read(self, asked: Asked, chart: Chart, since: datetime) -> None:
        given = {
            "instrument_id": asked.instrument_id,
            "interval": asked.interval,
            "since": since,
            "until": datetime.now(UTC) + AHEAD,
        }
        rows = await self._store.rows("bars_of_instrument", given)
        first = chart.signals[0][0] if chart.signals else None
        found = await self._store.rows(
            "signals_of_instrument", given | {"since": since if first is None else min(since, _time(first))}
        )
        fresh = [_bar(row) for row in rows[-BARS_MAX:]]
        changed = [bar for bar in fresh if chart.bars.get(bar[0]) != bar]
        signals = [_signal(row, interval_minutes(asked.interval), chart, fresh) for row in found]
        if changed or signals != chart.signals:
            chart.from_ms = min((bar[0] for bar in changed), default=_ms(datetime.now(UTC) + AHEAD))
            chart.bars |= {bar[0]: bar for bar in changed}
            chart.signals = signals
            chart.version += 1


def _bar(row: tuple[Any, ...]) -> list[Any]:
    bucket, *prices, volume, source, quality = row
    return [_ms(bucket), *prices, volume, quality, source]


def _signal(row: tuple[Any, ...], minutes: int, chart: Chart, fresh: list[list[Any]]) -> list[Any]:
    """Return a signal at the bar of the chart that contains its minute."""
    bucket, direction, confidence, price, reason = row
    at = _ms(bucket)
    if minutes > 1:
        starts = [start for start in {*chart.bars, *(bar[0] for bar in fresh)} if start <= at]
        at = max(starts, default=at)
    return [at, direction, round(confidence, 2), price, reason or ""]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
