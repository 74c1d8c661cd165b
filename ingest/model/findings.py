"""Findings stored beside the ticks: rejected updates, gap volumes, breaks, the vendor's bars. Pure data."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model.frames import Update

HELD_BACK = "no list has this key, and more such keys are new on this day than are taken"


class Break(NamedTuple):
    """A period in which we did not listen; feed time, epoch milliseconds."""

    started_ms: int
    ended_ms: int
    reason: str


class OfficialBar(NamedTuple):
    """The vendor's own bar of a completed minute; rupees and units."""

    instrument_id: int
    bucket_ms: int  # start of the minute, epoch ms
    open: float
    high: float
    low: float
    close: float
    volume: int | None  # None: an index
    received_us: int  # our clock, epoch microseconds


class VolumeGap(NamedTuple):
    """Volume traded while we were not listening; only its total is known."""

    instrument_id: int
    started_ms: int  # last trade before the break, epoch ms
    ended_ms: int  # last trade in the snapshot after it, epoch ms
    volume: int
    began: bool = False  # True: the day's volume from before we began


class Unheard(NamedTuple):
    """A period in which we, or the vendor's bars, missed data of an instrument; feed time."""

    instrument_id: int
    started_ms: int
    ended_ms: int
    is_gap: bool  # False: we began or stopped there on purpose, or the vendor sent a filler


class RejectedUpdate(NamedTuple):
    """An update that says something impossible; it makes no row."""

    frame: int  # index of the frame that brought it
    instrument_id: int | None  # None: not a valid key, or the key is held back
    reason: str
    update: Update  # the first one
    updates: int = 1  # how many in this frame, for one instrument (or none) and this reason
