"""Sort updates by instrument, and compute per-column properties of them. Pure.

After sorting, "the update before" is the row above, and "a field not sent keeps its last value" is a
running maximum of row numbers. Of the rules, this module only knows which updates are plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.market.time import day_number
from ingest.model.frames import Mode, Updates
from ingest.model.ticks import Floats, Integers, Mask
from ingest.normalise.instrument_states import InstrumentStates


@dataclass(slots=True)
class SortedUpdates:
    """Valid updates grouped by instrument, each instrument in order of arrival; columns as in `Updates`."""

    order: Integers  # index of each row in the original updates
    owners: Integers  # the instruments, as rows of `InstrumentStates`
    starts: Integers  # first row of each instrument
    sizes: Integers  # number of rows of each instrument
    before: NDArray[Any]  # the last trade of each instrument before these updates
    mode: Integers
    ltp: Floats
    ltt_ms: Integers
    ltq: Integers
    vtt: Integers
    today: Integers  # IST day number of the frame
    has_trade: Mask  # has data of the last trade
    new_mode: Mask
    new_day: Mask  # the first of its day

    def above(self, name: str) -> Any:
        """Return a column shifted down by one row; an instrument's first row gets the value before these updates."""
        return _moved_down(getattr(self, name), self.starts, self.before[name])


def sort(
    updates: Updates, order: Integers, places: Integers, states: InstrumentStates, today: Integers
) -> SortedUpdates:
    """Group updates by instrument; `places` are already sorted."""
    starts = (places != _moved_down(places, np.zeros(1, np.int64), -1)).nonzero()[0]
    owners = places[starts]
    before = states.last_trades[owners]
    mode, ltp, ltt_ms, vtt = updates.mode[order], updates.ltp[order], updates.ltt_ms[order], updates.vtt[order]
    return SortedUpdates(
        order=order,
        owners=owners,
        starts=starts,
        sizes=_moved_up(starts, len(order)) - starts,
        before=before,
        mode=mode,
        ltp=ltp,
        ltt_ms=ltt_ms,
        ltq=updates.ltq[order],
        vtt=vtt,
        today=today,
        has_trade=(ltt_ms != 0) | (ltp != 0),
        new_mode=mode != _moved_down(mode, starts, before["mode"]),
        new_day=today != _moved_down(today, starts, states.memory["day"][owners]),
    )


def says_something(updates: Updates) -> Mask:
    """Return which updates have content: a wrong key gets an empty update."""
    has_trade = (updates.ltt_ms != 0) | (updates.ltp != 0)
    something: Mask = has_trade | updates.has_depth | updates.has_greeks | (updates.vtt != 0)
    return something


def _moved_down(values: NDArray[Any], starts: Integers, before: Any) -> NDArray[Any]:
    moved = np.empty_like(values)
    moved[1:] = values[:-1]
    moved[starts] = before
    return moved


def _moved_up(values: Integers, after: int) -> Integers:
    moved = np.empty_like(values)
    moved[:-1], moved[-1:] = values[1:], after
    return moved


def all_plain(given: SortedUpdates) -> Mask:
    """Return the instruments whose updates only go forward: a step of `vtt` is a trade, and the last trade moves.

    These are the rows "vtt up" and "vtt same" of the table in `trade_rules`.
    """
    plain = (given.ltt_ms >= given.above("ltt_ms")) & (given.vtt >= given.above("vtt")) & (given.vtt > 0)
    plain &= day_number(given.ltt_ms) == given.today
    plain &= given.before["day"].repeat(given.sizes) == given.today
    plain &= ~given.new_mode & (given.mode != Mode.LTPC)
    together: Mask = np.logical_and.reduceat(plain, given.starts)
    connected: Mask = together & given.before["connected"] & ~given.before["is_index"]
    return connected


def fill_down(
    block: Floats, sent: Mask, forgotten: Mask, *, never_sent: Floats, starts: Integers, before: Floats
) -> None:
    """Fill each row of a block, in place, with the value last sent or reset at or above it."""
    block[forgotten & ~sent] = never_sent
    known = sent | forgotten
    silent = ~known[starts]
    block[starts[silent]] = before[silent]
    known[starts] = True
    block[:] = block[np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))]
