"""Official: the vendor's own minute bars out of the feed's candle "I1". Pure.

Owns which candles are bars. "I1" is the last minute that is over, not the one that forms, and is
repeated in every update of the next; its interval and its start say which minute it is, never its
position. One is taken where it is newer than the newest taken of that instrument, and makes sense.
"""

from __future__ import annotations

import numpy as np

from ingest.judge import MINUTE_MS
from ingest.model import Candles, Integers, Mask, OfficialBar

AHEAD_MS_MAX = 1_000  # a minute's bar may come before the feed's own clock says that the minute is over
PRICE_MAX = 1e9  # rupees
QUANTITY_MAX = 2**53


def newer_rows(minute_ms: Integers, newest_ms: Integers, starts: Integers, sizes: Integers) -> Integers:
    """Return the rows whose candle is newer than what was taken of their instrument before, without repetitions.

    Parameters
    ----------
    minute_ms
        Start of each update's candle, epoch ms, by instrument, each instrument's in order of arrival; 0: none.
    newest_ms, starts, sizes
        Of each instrument: the newest taken, its first row and its number of rows.
    """
    if not (np.maximum.reduceat(minute_ms, starts) > newest_ms).any():  # but for one read in a minute
        return np.zeros(0, np.int64)
    changed = np.diff(minute_ms, prepend=0) != 0
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
    newest_ms: Integers,
) -> tuple[list[OfficialBar], int]:
    """Make bars of candles, each minute of an instrument once; return also how many candles were none.

    One without volume is no bar, for nobody traded; an index has no volume.

    Parameters
    ----------
    candles, candle
        The columns, and which row of them to read.
    bucket_ms, current_ms, owner, instrument_id, is_index, received_us
        Of each: start of its minute, the frame's time (epoch ms), whose it is, our clock (epoch us).
    newest_ms
        The newest taken of each owner; moved on, in place.
    """
    bars: list[OfficialBar] = []
    odd = 0
    columns = (*(column[candle] for column in candles), bucket_ms, current_ms, owner, instrument_id, is_index)
    for open_, high, low, close, volume, bucket, current, own, id_, index, received in zip(
        *(column.tolist() for column in (*columns, received_us)), strict=True
    ):
        if bucket <= newest_ms[own]:
            continue
        whole = bucket % MINUTE_MS == 0 and bucket + MINUTE_MS <= current + AHEAD_MS_MAX
        priced = 0 < low <= open_ <= high < PRICE_MAX and low <= close <= high  # NaN fails every comparison
        if not (whole and priced and (index or 0 <= volume < QUANTITY_MAX)):
            odd += 1
            continue
        newest_ms[own] = bucket
        if index or volume:
            bars.append(OfficialBar(id_, bucket, open_, high, low, close, None if index else volume, received))
    return bars, odd
