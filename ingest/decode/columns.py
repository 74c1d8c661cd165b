"""What a decoder makes of frames: columns, and the frames that it leaves to protobuf. Pure data."""

from __future__ import annotations

from typing import NamedTuple

from ingest.model.frames import Candles, Updates
from ingest.model.ticks import Integers


class Columns(NamedTuple):
    """Frames as columns, one row a frame or an update.

    Attributes
    ----------
    type, current_ms
        Of each frame; zero where it is in `unsure`.
    ends
        Shape (frames + 1,): frame i has the updates from ends[i] to before ends[i + 1].
    unsure
        Frames of which nothing was read, by index: protobuf must say whether they are frames and what they hold.
    updates, candles
        As in `Frames`.
    """

    type: Integers
    current_ms: Integers
    ends: Integers
    unsure: list[int]
    updates: Updates
    candles: Candles
