"""How many rows frames make. Pure; asks the decoder and the normaliser, and keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.batch import RowBuffer
from ingest.decode import decode_all
from ingest.model import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise import Normaliser

_SEQ = TICK_COLUMN_NAMES.index("seq")


def rows_of_frames(payloads: Sequence[bytes]) -> list[int]:
    """Return how many rows each frame makes; that does not depend on any other frame."""
    frames = decode_all(list(payloads))
    normaliser = Normaliser()
    normaliser.learn(InstrumentRef(0, key) for key in normaliser.unknown(frames))
    rows = RowBuffer(max(int(frames.ends[-1]), 1))
    count = len(payloads)
    normaliser.apply(frames, seq=np.arange(count), received_us=np.zeros(count, np.int64), out=rows)
    made = np.bincount(rows.values()[:, _SEQ].astype(np.int64), minlength=count)
    return [int(number) for number in made]
