"""Extract the vendor's own minute bars from the feed's candle "I1". Pure.

Decides which candles are bars. "I1" is the last completed minute, not the one in progress, and is
repeated in every update of the next minute; its interval and start identify the minute, never its
position. A candle is taken if it is newer than the newest taken of that instrument and plausible.

A candle without volume is not a bar, because nobody traded (an index has no volume and is exempt). Where the vendor
usually has a bar, such a candle is a filler: the vendor's bars failed in that minute, perhaps also in the one before,
so REST must be asked for both. If a bar for a filler's minute still comes, it is taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.market.time import MINUTE_MS, day_number
from ingest.model.findings import OfficialBar
from ingest.model.frames import Candles
from ingest.model.ticks import PRICE_MAX, QUANTITY_MAX, Integers, Mask

AHEAD_MS_MAX = 1_000  # a bar may come before the feed's own clock reaches the end of the minute
# "Usually": each minute with a bar adds one, up to half an hour's worth; each minute without takes three. So a filler
# counts for an instrument that trades in three of four minutes, and fillers count for at most ten in a row.
USUAL, USUAL_MAX, LACK = 3, 30, 3


class Found(NamedTuple):
    """Result of sorting candles into bars, fillers and odd ones."""

    bars: list[OfficialBar]
    fillers: list[tuple[int, int]]  # instrument_id and start of the minute, epoch ms, where a bar is usual
    odd: int  # implausible candles


def newer_rows(
    candles: Candles,
    candle: Integers,
    minute_ms: Integers,
    *,
    newest_ms: Integers,
    starts: Integers,
    sizes: Integers,
) -> Integers:
    """Return the rows whose candle is newer than the newest taken of their instrument, without repetitions.

    Parameters
    ----------
    candles, candle, minute_ms
        The columns; and for each update, grouped by instrument and in order of arrival: its row in the columns
        and the start of that minute, epoch ms; 0: none.
    newest_ms, starts, sizes
        For each instrument: the newest minute taken, its first row and its number of rows.
    """
    if not (np.maximum.reduceat(minute_ms, starts) > newest_ms).any():  # false for all but one read per minute
        return np.zeros(0, np.int64)
    volume = candles.volume[candle]
    changed = np.ones(len(minute_ms), np.bool_)
    changed[1:] = (minute_ms[1:] != minute_ms[:-1]) | (volume[1:] != volume[:-1])
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
    """Make bars of candles, one per minute and instrument, and find fillers.

    Parameters
    ----------
    candles, candle
        The columns, and the rows to read.
    bucket_ms, current_ms, owner, instrument_id, is_index, received_us
        For each row: start of its minute, time of its frame (epoch ms), its owner, our clock (epoch us).
    memory
        For each owner: `official_ms` and `filler_ms`, the minutes of the newest bar and filler taken, and `habit`, see
        `USUAL`; updated in place.
    """
    found = Found([], [], 0)
    odd = 0
    newest_ms, filler_ms, usual = memory["official_ms"], memory["filler_ms"], memory["habit"]
    columns = (*(column[candle] for column in candles), bucket_ms, current_ms, owner, instrument_id, is_index)
    for open_, high, low, close, volume, bucket, current, own, id_, index, received in zip(
        *(column.tolist() for column in (*columns, received_us)), strict=True
    ):
        if bucket <= newest_ms[own]:
            continue
        whole = bucket % MINUTE_MS == 0 and bucket + MINUTE_MS <= current + AHEAD_MS_MAX
        priced = 0 < low <= open_ <= high < PRICE_MAX and low <= close <= high  # NaN fails every comparison
        filler = not (index or volume)  # its prices mean nothing
        if not (whole and (filler or (priced and (index or 0 < volume < QUANTITY_MAX)))):
            odd += 1
            continue
        left = _usual_before(int(usual[own]), int(newest_ms[own]), bucket)
        if not filler:
            usual[own], newest_ms[own] = min(left + 1, USUAL_MAX), bucket
            found.bars.append(OfficialBar(id_, bucket, open_, high, low, close, None if index else volume, received))
        elif bucket > filler_ms[own]:
            filler_ms[own] = bucket
            if left >= USUAL:
                found.fillers.append((id_, bucket))
    return found._replace(odd=odd)


def _usual_before(usual: int, newest_ms: int, bucket_ms: int) -> int:
    """Return `usual` reduced by the minutes without a bar since the newest one; a night takes nothing."""
    if day_number(newest_ms) != day_number(bucket_ms):
        return usual
    return max(usual - LACK * max((bucket_ms - newest_ms) // MINUTE_MS - 1, 0), 0)
