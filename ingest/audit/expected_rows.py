"""Count the rows that frames make. Pure; uses the decoder and the normaliser's rules, and keeps no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.decode.frames import decode_all
from ingest.normalise.rejection import impossible
from ingest.normalise.sorted_updates import says_something

UNREADABLE = -1


def rows_of_frames(payloads: Sequence[bytes]) -> list[int]:
    """Return how many rows each frame makes, independently of any other frame; `UNREADABLE`: it cannot be read."""
    frames = decode_all(list(payloads))
    frame = np.repeat(np.arange(len(frames)), np.diff(frames.ends))
    makes_row = says_something(frames.updates)
    makes_row[list(impossible(frames.updates, frames.current_ms[frame]))] = False
    made: list[int] = np.bincount(frame[makes_row], minlength=len(payloads)).tolist()
    for index in frames.errors:
        made[index] = UNREADABLE
    return made
