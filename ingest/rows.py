"""How many rows a frame makes. Pure; asks the decoder and the normaliser, and keeps nothing."""

from __future__ import annotations

from ingest.batch import RowBuffer
from ingest.decode import decode
from ingest.model import InstrumentRef
from ingest.normalise import Normaliser
from sql.errors import DecodeError


def rows_of_frame(payload: bytes) -> int:
    """Return how many rows a frame makes; it does not depend on any other frame."""
    try:
        frame = decode(payload)
    except DecodeError:
        return 0
    normaliser = Normaliser()
    normaliser.learn(InstrumentRef(0, key) for key in normaliser.unknown(frame))
    rows = RowBuffer(max(len(frame.updates), 1))
    normaliser.apply(frame, seq=0, received_us=0, out=rows)
    return rows.rows
