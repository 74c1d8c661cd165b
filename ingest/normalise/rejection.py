"""Reject updates that make no row, with the reason. Pure.

The update alone shows whether it is impossible. `pipeline.naming` decides which keys are held back: the frame does
not show it, so the update is marked where it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.model.findings import RejectedUpdate
from ingest.model.frames import Updates
from ingest.model.keys import KEY_CHARS_MAX, is_key, shown
from ingest.model.ticks import CARRIED_NAMES, PRICE_MAX, QUANTITY_MAX, Integers

# Exchange and feed clocks differ by milliseconds; a last trade a minute ahead is not a valid time.
LTT_AHEAD_MS_MAX = 60_000

# Reasons for rejecting an update.
NO_KEY, IMPOSSIBLE = "no instrument key", "impossible"

NO_INSTRUMENT = -1  # instead of an id

_OI = CARRIED_NAMES.index("oi")

# Largest plausible value of a carried column, and the group in which it is sent.
_CARRIED_LIMITS = (
    ("atp", "", PRICE_MAX),
    ("prev_close", "", PRICE_MAX),
    ("bid", "depth", PRICE_MAX),
    ("ask", "depth", PRICE_MAX),
    ("bid_qty", "depth", QUANTITY_MAX),
    ("ask_qty", "depth", QUANTITY_MAX),
    ("tbq", "depth", QUANTITY_MAX),
    ("tsq", "depth", QUANTITY_MAX),
    ("day_open", "day", PRICE_MAX),
    ("day_high", "day", PRICE_MAX),
    ("day_low", "day", PRICE_MAX),
)

_LIMITS = {name: limit for name, _, limit in _CARRIED_LIMITS}
CARRIED_MIN = np.array([0.0 if name in _LIMITS else -np.inf for name in CARRIED_NAMES])
CARRIED_MAX = np.array([_LIMITS.get(name, np.inf) for name in CARRIED_NAMES])


@lru_cache(maxsize=2**14)
def _is_known_key(key: str) -> bool:
    return is_key(key)


def _is_key(key: str) -> bool:
    """Return whether a text is a valid key; recent results are cached, unless the text is long."""
    return len(key) <= KEY_CHARS_MAX and _is_known_key(key)


def impossible(updates: Updates, current_ms: Integers) -> dict[int, str]:
    """Return why updates cannot be true, by index. NaN fails every comparison, so it is caught here."""
    wrong: dict[int, str] = {}
    if refused := {key for key in set(updates.keys) if not _is_key(key)}:
        wrong = {index: NO_KEY for index, key in enumerate(updates.keys) if key in refused}
    limited: tuple[tuple[str, NDArray[Any], Any], ...] = (
        ("ltp", updates.ltp, PRICE_MAX),
        ("vtt", updates.vtt, QUANTITY_MAX),
        ("ltq", updates.ltq, QUANTITY_MAX),
        ("oi", updates.carried[:, _OI], QUANTITY_MAX),
        ("ltt", updates.ltt_ms, current_ms + (LTT_AHEAD_MS_MAX + 1)),
    )
    possible = [(values >= 0) & (values < limit) for _, values, limit in limited]
    if not np.logical_and.reduce(possible).all():
        for (name, values, _), good in zip(limited, possible, strict=True):
            for index in (~good).nonzero()[0].tolist():
                wrong.setdefault(index, f"{IMPOSSIBLE} {name} {values[index].item()!r}")
    # NaN passes: it is "not sent", like the totals of the book in mode option_greeks.
    if not ((updates.carried < CARRIED_MIN) | (updates.carried >= CARRIED_MAX)).any():
        return wrong
    sent = {"depth": updates.has_depth, "day": updates.has_day_candle, "": np.ones(len(updates), np.bool_)}
    for name, group, limit in _CARRIED_LIMITS:
        values = updates.carried[:, CARRIED_NAMES.index(name)]
        for index in np.flatnonzero(sent[group] & ((values < 0) | (values >= limit))).tolist():
            wrong.setdefault(index, f"{IMPOSSIBLE} {name} {values[index].item()!r}")
    return wrong


def refused(why: Mapping[int, str], updates: Updates, frame: Integers, ids: Integers) -> list[RejectedUpdate]:
    """Return the updates that make no row in a form that can be stored: their keys may be any text.

    Updates of one frame without an instrument are merged into one per reason: there may be thousands.

    Parameters
    ----------
    why
        Index of an update -> the reason.
    updates, frame, ids
        All updates; for each, its frame and its instrument id or `NO_INSTRUMENT`.
    """
    together: dict[tuple[int, str, int], list[int]] = {}
    for index in sorted(why):
        reason, id_ = why[index], int(ids[index])
        if id_ == NO_INSTRUMENT and reason.startswith(IMPOSSIBLE):
            reason = reason.rpartition(" ")[0]  # without the value
        together.setdefault((int(frame[index]), reason, id_), []).append(index)
    found = []
    for (at, reason, id_), indices in together.items():
        first = updates.one(indices[0])
        first = first._replace(instrument_key=shown(first.instrument_key))
        found.append(RejectedUpdate(at, None if id_ == NO_INSTRUMENT else id_, reason, first, len(indices)))
    return found
