"""Official: the vendor's own minute bars out of the feed's candle "I1". Pure.

Owns which candles are bars. "I1" is the last minute that is over, not the one that forms, and is
repeated in every update of the next; its interval and its start say which minute it is, never its
position. One is taken where it is newer than the newest taken of that instrument, and makes sense.

One without volume is no bar, for nobody traded; an index has no volume. Where the vendor usually has a bar it is a
filler: its bars failed the vendor in that minute, and perhaps in the one before it, so REST is to be asked for both.
A bar that still comes for a filler's minute is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.market.time import DAY_MS, IST_OFFSET_MS, MINUTE_MS
from ingest.model.findings import OfficialBar
from ingest.model.frames import Candles
from ingest.model.ticks import PRICE_MAX, QUANTITY_MAX, Integers, Mask

AHEAD_MS_MAX = 1_000  # a minute's bar may come before the feed's own clock says that the minute is over
# "Usually": each minute with a bar adds one, up to half an hour's, and each without takes three. So the filler of an
# instrument that trades in three of four minutes says something, and no more than ten in a row do.
USUAL, USUAL_MAX, LACK = 3, 30, 3


class Found(NamedTuple):
    """What candles were found to be."""

    bars: list[OfficialBar]
    fillers: list[tuple[int, int]]  # instrument_id and start of the minute, epoch ms, where a bar is usual
    odd: int  # candles that make no sense


def newer_rows(
    candles: Candles,
    candle: Integers,
    minute_ms: Integers,
    *,
    newest_ms: Integers,
    starts: Integers,
    sizes: Integers,
) -> Integers:
    """Return the rows whose candle is newer than what was taken of their instrument before, without repetitions.

    Parameters
    ----------
    candles, candle, minute_ms
        The columns, and of each update, by instrument, each instrument's in order of arrival: which row of them it
        has, and the start of that minute, epoch ms; 0: none.
    newest_ms, starts, sizes
        Of each instrument: the newest taken, its first row and its number of rows.
    """
    if not (np.maximum.reduceat(minute_ms, starts) > newest_ms).any():  # but for one read in a minute
        return np.zeros(0, np.int64)
    changed = (np.diff(minute_ms, prepend=0) != 0) | (np.diff(candles.volume[candle], prepend=0) != 0)
    changed[starts] = True
    return np.flatnonzero(changed & (minute_ms > np.repeat(newest_ms, sizes)))


def take_bars(
    candles: Candles,
    candle: Integers,
    *,
    bucket_ms: Integers,
    current_ms: Integers,
    owner: Integers,
    instrument_id: Integers,
    is_index: Mask,
    received_us: Integers,
    memory: NDArray[Any],
) -> Found:
    """Make bars of candles, each minute of an instrument once, and find fillers.

    Parameters
    ----------
    candles, candle
        The columns, and which row of them to read.
    bucket_ms, current_ms, owner, instrument_id, is_index, received_us
        Of each: start of its minute, the frame's time (epoch ms), whose it is, our clock (epoch us).
    memory
        Of each owner: `official_ms`, `filler_ms`, the minutes of the newest bar and filler taken, and `habit`, see
        `USUAL`; moved on, in place.
    """
    found = Found([], [], 0)
    odd = 0
    newest_ms, filler_ms, habit = memory["official_ms"], memory["filler_ms"], memory["habit"]
    columns = (*(column[candle] for column in candles), bucket_ms, current_ms, owner, instrument_id, is_index)
    for open_, high, low, close, volume, bucket, current, own, id_, index, received in zip(
        *(column.tolist() for column in (*columns, received_us)), strict=True
    ):
        if bucket <= newest_ms[own]:
            continue
        whole = bucket % MINUTE_MS == 0 and bucket + MINUTE_MS <= current + AHEAD_MS_MAX
        priced = 0 < low <= open_ <= high < PRICE_MAX and low <= close <= high  # NaN fails every comparison
        filler = not (index or volume)  # its prices say nothing
        if not (whole and (filler or (priced and (index or 0 < volume < QUANTITY_MAX)))):
            odd += 1
            continue
        left = _habit_before(int(habit[own]), int(newest_ms[own]), bucket)
        if not filler:
            habit[own], newest_ms[own] = min(left + 1, USUAL_MAX), bucket
            found.bars.append(OfficialBar(id_, bucket, open_, high, low, close, None if index else volume, received))
        elif bucket > filler_ms[own]:
            filler_ms[own] = bucket
            if left >= USUAL:
                found.fillers.append((id_, bucket))
    return found._replace(odd=odd)


def _habit_before(habit: int, newest_ms: int, bucket_ms: int) -> int:
    """Return a habit less what was lacking between the newest bar and a minute; a night takes nothing."""
    if (newest_ms + IST_OFFSET_MS) // DAY_MS != (bucket_ms + IST_OFFSET_MS) // DAY_MS:
        return habit
    return max(habit - LACK * max((bucket_ms - newest_ms) // MINUTE_MS - 1, 0), 0)
