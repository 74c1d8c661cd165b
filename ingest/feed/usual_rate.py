"""Usual frames per second of a connection at each minute of the day, learnt from earlier days. Pure.

The rate depends on the hour: the first minutes bring several times what noon does, so noon after such an
opening is not slow, but an opening like noon is. The usual rate of a minute is the mean of about ten
days; their spread tells how far below is unusual. Rates learnt with another number of keys do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from math import sqrt
from typing import Any, NamedTuple

from ingest.market.time import IST, market_day

DAYS = 10  # the mean covers about this many days
DAYS_KNOWN = 3  # before that a minute has no usual rate
KEYS_SHARE = 0.2  # a connection with more or fewer keys than this share counts as another one
SLOW_SHARE = 0.6  # of the mean, and
SLOW_SPREADS = 3.0  # this many standard deviations below it


class Usual(NamedTuple):
    """Usual rate of a minute, frames per second."""

    rate: float
    slow_below: float


@dataclass(slots=True)
class _Minute:
    mean: float = 0.0
    variance: float = 0.0
    days: int = 0
    keys: int = 0
    newest: str = ""  # the newest day included: each day is learnt once


def minute_of(at: datetime) -> int:
    """Return the minute of an aware time's Indian day."""
    local = at + IST
    return local.hour * 60 + local.minute


@dataclass(slots=True)
class UsualRates:
    """The usual rates of one connection."""

    _minutes: dict[int, _Minute] = field(default_factory=dict)

    def learn(self, at: datetime, rate: float, keys: int) -> None:
        """Note the frames per second of a whole minute, and the number of keys."""
        day = market_day(at).isoformat()
        known = self._minutes.get(minute_of(at))
        if known is None or not _alike(known.keys, keys):
            known = self._minutes[minute_of(at)] = _Minute(keys=keys)
        if known.newest >= day:
            return
        known.days += 1
        known.keys, known.newest = keys, day
        share = 1 / min(known.days, DAYS)
        step = rate - known.mean
        known.mean += share * step
        known.variance = (1 - share) * (known.variance + share * step * step)

    def usual(self, at: datetime, keys: int) -> Usual | None:
        """Return the usual rate at this minute for this number of keys, from earlier days; None: unknown."""
        known = self._minutes.get(minute_of(at))
        if known is None or known.days < DAYS_KNOWN or not _alike(known.keys, keys):
            return None
        return Usual(known.mean, min(SLOW_SHARE * known.mean, known.mean - SLOW_SPREADS * sqrt(known.variance)))

    def dump(self) -> dict[str, list[Any]]:
        """Return plain values."""
        return {
            str(minute): [one.mean, one.variance, one.days, one.keys, one.newest]
            for minute, one in self._minutes.items()
        }

    @classmethod
    def load(cls, dumped: dict[str, list[Any]]) -> UsualRates:
        """Rebuild what `dump` returned; raise `TypeError` or `ValueError` for anything else."""
        found: dict[int, _Minute] = {}
        for minute, (mean, variance, days, keys, newest) in dumped.items():
            date.fromisoformat(newest)
            found[int(minute)] = _Minute(float(mean), float(variance), int(days), int(keys), newest)
        return cls(found)


def _alike(one: int, other: int) -> bool:
    return abs(one - other) <= KEYS_SHARE * max(one, other)
