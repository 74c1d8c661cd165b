"""What is found beside the rows of ticks: refused updates, volume of gaps, breaks, the vendor's bars. Pure data."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model.frames import Update

HELD_BACK = "no list has this key, and more such keys are new on this day than are taken"


class Break(NamedTuple):
    """A time in which we did not listen; the feed's time, epoch milliseconds."""

    started_ms: int
    ended_ms: int
    reason: str


class OfficialBar(NamedTuple):
    """The vendor's own bar of a minute that is over; rupees and units."""

    instrument_id: int
    bucket_ms: int  # start of the minute, epoch ms
    open: float
    high: float
    low: float
    close: float
    volume: int | None  # None: an index
    received_us: int  # our clock, epoch microseconds


class VolumeGap(NamedTuple):
    """Volume traded while we were not listening, known by its total only."""

    instrument_id: int
    started_ms: int  # last trade before the break, epoch ms
    ended_ms: int  # last trade in the snapshot after it, epoch ms
    volume: int
    began: bool = False  # it is the day's volume from before we began


class Unheard(NamedTuple):
    """A time of which we, or the vendor's bars, did not hear all that an instrument had to say, in the feed's time."""

    instrument_id: int
    started_ms: int
    ended_ms: int
    is_gap: bool  # False: we began or stopped there, on purpose, or the vendor sent a filler


class RejectedUpdate(NamedTuple):
    """An update that says something impossible; it makes no row."""

    frame: int  # index of the frame that brought it
    instrument_id: int | None  # None: its key is none, or is held back
    reason: str
    update: Update  # the first of them
    updates: int = 1  # of the frame, of one instrument or of none, for this reason
