"""Faults of the simulated market: what, when, and how often. Pure.

`Faults` are switches: they say what is wrong now, and their holder may change them at any time. A `BadDay` is
a plan for changing them. The same plan and seed give the same bad day.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import accumulate, count
from typing import NamedTuple

ALL = "all"  # stands for every key of the market


@dataclass(slots=True)
class Faults:
    """Switches; "every" N means one of N, 0 none.

    Attributes
    ----------
    refuse
        Status (401, 403, 429 …) that authorise and handshake answer with; None: normal answers.
    busy_every
        Requests for bars and prices that are answered with 429.
    no_candle
        Minutes missing from REST: key and start, epoch milliseconds.
    mute
        Keys for which nothing is sent.
    skip_every
        Live frames that are not sent: 2 is half the rate.
    repeat_every
        Live frames that are sent twice.
    swap_every
        Live frames that are sent after the next one.
    text_every
        Live frames before which a text message is sent.
    huge_every
        Live frames that are sent with `huge_bytes` in an unknown field.
    truncate_every
        Live frames that are sent without their end.
    poison_every
        Live frames with an extra update whose key is invalid.
    crowd_every
        Live frames before which one with `ingest.simulator.server.odd_data.UNKNOWN_KEYS` unknown keys is sent.
    clock_off_s
        Seconds by which the server time of every frame is off; negative is slow.
    odd_rows
        Odd rows in the instrument master.
    seed
        Seed of everything random.
    """

    refuse: int | None = None
    busy_every: int = 0
    no_candle: set[tuple[str, int]] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    skip_every: int = 0
    repeat_every: int = 0
    swap_every: int = 0
    text_every: int = 0
    huge_every: int = 0
    huge_bytes: int = 2 * 2**20
    truncate_every: int = 0
    poison_every: int = 0
    crowd_every: int = 0
    clock_off_s: float = 0.0
    odd_rows: int = 0
    seed: int = 1


class Episode(NamedTuple):
    """A switch that is set for some time; seconds count from the first client."""

    switch: str  # an attribute of Faults
    value: int | float | str  # of `mute` one key, or `all`
    start_s: float = 0.0
    length_s: float = math.inf

    def holds(self, at_s: float) -> bool:
        """Return whether the switch is set at a time."""
        return self.start_s <= at_s < self.start_s + self.length_s


class Act(Enum):
    """Action at one moment of a bad day."""

    SWITCH = "switches"  # some episode begins or ends
    DROP = "drop"
    CLOSE = "close"
    EXPIRE = "expire"
    ODD_STATUS = "odd status"
    TRUE_STATUS = "true status"


class Turn(NamedTuple):
    """One moment of a bad day."""

    at_s: float
    act: Act
    value: int = 0  # close code, or number of the odd status


@dataclass(frozen=True, slots=True, kw_only=True)
class BadDay:
    """Plan of faults and their times; seconds are real seconds and count from the first client.

    Attributes
    ----------
    episodes
        Switches that are set for some time; if two of one kind overlap, the later in this order counts, but `mute`
        adds up.
    closes
        Close code, and the second at which all connections are closed with it.
    drop_every_s, drop_random_s
        Seconds between abrupt cuts of all connections, regular and random (on average); 0: none.
    odd_status_every_s
        Seconds between odd `market_info` frames; the true one follows after half of that time. 0: none.
    token_expires_s
        When the token becomes invalid and all connections are cut; None: never.
    seed
        Seed of everything random.
    """

    episodes: tuple[Episode, ...] = ()
    closes: tuple[tuple[int, float], ...] = ()
    drop_every_s: float = 0.0
    drop_random_s: float = 0.0
    odd_status_every_s: float = 0.0
    token_expires_s: float | None = None
    seed: int = 1

    def turns(self) -> Iterator[Turn]:
        """Yield the actions after the beginning, in order; endless if any of them repeats."""
        edges = {edge for one in self.episodes for edge in (one.start_s, one.start_s + one.length_s)}
        once = [Turn(edge, Act.SWITCH) for edge in edges if 0 < edge < math.inf]
        once += [Turn(at_s, Act.CLOSE, code) for code, at_s in self.closes]
        if self.token_expires_s is not None:
            once.append(Turn(self.token_expires_s, Act.EXPIRE))
        endless = [self._drops(), self._random_drops(), self._statuses()]
        yield from heapq.merge(sorted(once, key=_when), *endless, key=_when)

    def switch(self, faults: Faults, at_s: float, keys: Collection[str]) -> list[str]:
        """Set the switches for a time; return the changes as texts."""
        said = []
        for name in dict.fromkeys(one.switch for one in self.episodes):
            held = [one.value for one in self.episodes if one.switch == name and one.holds(at_s)]
            value: object
            if name == "mute":
                value = set(keys) if ALL in held else set(map(str, held))
                text = ",".join(map(str, held))
            else:
                value = held[-1] if held else getattr(Faults(), name)
                text = str(value)
            if value != getattr(faults, name):
                setattr(faults, name, value)
                said.append(f"{name} {text if held else 'off'}")
        return said

    def _drops(self) -> Iterator[Turn]:
        if self.drop_every_s:
            for number in count(1):
                yield Turn(number * self.drop_every_s, Act.DROP)

    def _random_drops(self) -> Iterator[Turn]:
        if self.drop_random_s:
            rng = random.Random(self.seed)
            for at_s in accumulate(rng.expovariate(1 / self.drop_random_s) for _ in count()):
                yield Turn(at_s, Act.DROP)

    def _statuses(self) -> Iterator[Turn]:
        if self.odd_status_every_s:
            for number in count():
                at_s = (number + 1) * self.odd_status_every_s
                yield Turn(at_s, Act.ODD_STATUS, number)
                yield Turn(at_s + self.odd_status_every_s / 2, Act.TRUE_STATUS)


def _when(turn: Turn) -> float:
    return turn.at_s
