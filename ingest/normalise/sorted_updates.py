"""Columns: updates sorted by instrument, and what can be said of all of them at once. Pure.

Sorted so that "the update before" is the row above, and "not sent keeps the last value" a running
maximum of row numbers. Knows the shapes, and of the rules only which updates are plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.market.time import DAY_MS, IST_OFFSET_MS
from ingest.model.frames import Mode, Updates
from ingest.model.ticks import Floats, Integers, Mask
from ingest.normalise.instrument_states import InstrumentStates


@dataclass(slots=True)
class SortedUpdates:
    """Possible updates by instrument, each instrument's in order of arrival; columns as `Updates`."""

    order: Integers  # where each came from
    owners: Integers  # the instruments, as rows of `States`
    starts: Integers  # the first row of each instrument
    sizes: Integers  # its number of rows
    before: NDArray[Any]  # its reference before these updates
    mode: Integers
    ltp: Floats
    ltt_ms: Integers
    ltq: Integers
    vtt: Integers
    today: Integers  # IST day number of the frame
    has_trade: Mask  # says something of the last trade
    new_mode: Mask
    new_day: Mask  # the first of its day

    def above(self, name: str) -> Any:
        """Return a column moved down by one row; an instrument's first row has what was before it."""
        return _moved_down(getattr(self, name), self.starts, self.before[name])


def sort(
    updates: Updates, order: Integers, places: Integers, states: InstrumentStates, today: Integers
) -> SortedUpdates:
    """Bring updates into an order that puts each instrument's together; `places` are sorted already."""
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    owners = places[starts]
    before = states.references[owners]
    mode, ltp, ltt_ms, vtt = updates.mode[order], updates.ltp[order], updates.ltt_ms[order], updates.vtt[order]
    return SortedUpdates(
        order=order,
        owners=owners,
        starts=starts,
        sizes=np.diff(starts, append=len(order)),
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
    """Tell which updates say anything: an empty one is what a wrong key gets."""
    has_trade = (updates.ltt_ms != 0) | (updates.ltp != 0)
    something: Mask = has_trade | updates.has_depth | updates.has_greeks | (updates.vtt != 0)
    return something


def _moved_down(values: NDArray[Any], starts: Integers, before: NDArray[Any]) -> NDArray[Any]:
    moved = np.empty_like(values)
    moved[1:] = values[:-1]
    moved[starts] = before
    return moved


def all_plain(given: SortedUpdates) -> Mask:
    """Find the instruments whose updates all go one way: a step of `vtt` is a trade, and the reference moves.

    These are the rows "vtt up" and "vtt same" of the table in `judge`.
    """
    plain = (given.ltt_ms >= given.above("ltt_ms")) & (given.vtt >= given.above("vtt")) & (given.vtt > 0)
    plain &= (given.ltt_ms + IST_OFFSET_MS) // DAY_MS == given.today
    plain &= np.repeat(given.before["day"], given.sizes) == given.today
    plain &= ~given.new_mode & (given.mode != Mode.LTPC)
    together: Mask = np.logical_and.reduceat(plain, given.starts)
    connected: Mask = together & given.before["connected"] & ~given.before["is_index"]
    return connected


def fill_down(
    block: Floats, sent: Mask, forgotten: Mask, *, never_sent: Floats, starts: Integers, before: Floats
) -> None:
    """Give each row of a block, in place, what was last sent or forgotten at or above it."""
    if sent.all():
        return
    block[forgotten & ~sent] = never_sent
    known = sent | forgotten
    silent = ~known[starts]
    block[starts[silent]] = before[silent]
    known[starts] = True
    block[:] = block[np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))]
