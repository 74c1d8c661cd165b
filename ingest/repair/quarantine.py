"""Frames that could not be decoded: list them, and write them once they can be.

A replayed frame is late. The updates after it were judged without it, and the next of them already
counted its volume. So its rows are quotes: prices, book, open interest and greeks as sent, but no
trade, no `vtt` and no volume. Nothing is counted twice.

Exactly once: a single transaction removes the frame from quarantine, copies its rows and moves it in the
ledger's counts. Works while an ingester runs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import psycopg

from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.decode.frames import decode
from ingest.errors import DecodeError, StoreError
from ingest.market.time import market_day, utc_of_ms
from ingest.model.frames import Frames
from ingest.model.records import Record, RecordKind
from ingest.model.ticks import NULL, TICK_COLUMN_NAMES, Floats
from ingest.normalise.normaliser import Normaliser
from ingest.pipeline.stray_frames import agree
from ingest.store.bar_refresh import touching
from ingest.store.batch import Batch, rejected_ticks
from ingest.store.copy_format import encode_rows, nullify
from ingest.store.registration import register
from ingest.store.row_buffer import RowBuffer
from ingest.store.side_limits import Findings
from ingest.store.side_tables import write_findings
from ingest.store.tick_tables import COPY_TICKS, copy_rows, make_room, note_active

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]


class Quarantined(NamedTuple):
    """A frame in quarantine, without its payload."""

    collector: str
    segment: str  # stream/segment
    end_offset: int
    seq: int
    received_at: datetime
    bytes: int
    reason: str


@dataclass(slots=True)
class Outcome:
    """Result of replaying frames."""

    replayed: int = 0
    ticks: int = 0
    rejected: int = 0  # impossible updates
    refused: int = 0  # frames that stay in quarantine

    def note(self, ticks: int, rejected: int) -> None:
        """Count a frame that was written."""
        self.replayed += 1
        self.ticks += ticks
        self.rejected += rejected


def quarantined(connection: Connection, limit: int | None = None) -> tuple[list[Quarantined], int]:
    """Return frames in quarantine, oldest first, and how many there are in all.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    with translated():
        rows = connection.execute(query("repair/quarantined_frames"), {"limit": limit}).fetchall()
    return [Quarantined(*row[:-1]) for row in rows], rows[0][-1] if rows else 0


@translated()
def left_out(connection: Connection) -> int:
    """Return how many frames are only counted, because the limit of a day was reached.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    [(frames,)] = connection.execute(query("repair/left_out_frames")).fetchall()
    return int(frames)


@translated()
def replay_quarantined(connection: Connection, *, unknown_keys_max: int) -> Outcome:
    """Write every frame in quarantine that can be decoded now; the others stay.

    Parameters
    ----------
    connection
        In autocommit mode: each frame is a transaction.
    unknown_keys_max
        Limit of keys, unknown to every list, that become instruments per day.

    Raises
    ------
    StoreError
        If the database cannot be written.
    """
    outcome = Outcome()
    for frame in quarantined(connection)[0]:
        try:
            _replay(connection, frame, outcome, unknown_keys_max)
        except (DecodeError, psycopg.DataError, psycopg.IntegrityError) as exc:
            outcome.refused += 1
            log.info("frame stays in quarantine segment=%s seq=%d reason=%s", frame.segment, frame.seq, exc)
    return outcome


def _replay(connection: Connection, frame: Quarantined, outcome: Outcome, unknown_keys_max: int) -> None:
    key = {"collector": frame.collector, "segment": frame.segment, "end_offset": frame.end_offset}
    found = connection.execute(query("repair/quarantined_payload"), key).fetchone()
    if found is None:
        return  # another replay was faster
    frames = _understood(*found)
    at = utc_of_ms(int(frames.current_ms[0]))
    stream, _, segment = frame.segment.partition("/")
    batch = Batch(segment, 0, RowBuffer(max(int(frames.ends[-1]), 1)))
    normaliser = _introduced(connection, frames, market_day(at), unknown_keys_max)
    received_us = round(frame.received_at.timestamp() * 1e6)
    held = normaliser.unknown(frames)
    batch.rows.extend(normaliser.apply(frames, seq=frame.seq, received_us=received_us, held=held))
    batch.official = normaliser.official
    record = Record(RecordKind.FRAME, frame.seq, received_us, b"", frame.end_offset)
    batch.rejected = rejected_ticks(normaliser.rejected, [record])
    values = _as_quotes(batch.rows.values(), at)
    times = {"first_ts": at, "last_ts": at} if len(values) else {"first_ts": None, "last_ts": None}
    with connection.transaction():
        if connection.execute(query("repair/release_frame"), key).fetchone() is None:
            return
        counts = {"ticks": len(values), "rejected": batch.rejected_updates}
        # First, as in the writer's transaction: the row may be the one that the writer extends.
        if connection.execute(query("repair/credit_ledger"), key | counts | times).fetchone() is None:
            place = f"byte {frame.end_offset} of segment {frame.segment!r}"
            raise StoreError(f"ledger has no batch with {place}: run `tickline verify`")
        if len(values):
            _copy(connection, values, at)
        write_findings(connection, frame.collector, stream, batch, Findings(batch.rejected, []))
        if len(values):
            connection.execute(*touching(values[:, TICK_COLUMN_NAMES.index("ts")]))
    outcome.note(len(values), batch.rejected_updates)


def _understood(payload: bytes, received_at: datetime, near_ts: datetime | None, near_received_at: datetime) -> Frames:
    """Decode a frame; its time must match the frames around it."""
    frames = decode(bytes(payload))
    current_ms = int(frames.current_ms[0])
    if near_ts and not agree((current_ms, _ms(received_at)), (_ms(near_ts), _ms(near_received_at))):
        raise DecodeError(f"frame has currentTs {current_ms!r} among frames of about {_ms(near_ts)!r}")
    return frames


def _introduced(connection: Connection, frames: Frames, day: date, unknown_keys_max: int) -> Normaliser:
    """Return a normaliser that knows the instruments of a frame, but no earlier state."""
    normaliser = Normaliser()
    normaliser.learn(register(connection, normaliser.unknown(frames), day, unknown_max=unknown_keys_max))
    return normaliser


def _as_quotes(values: Floats, at: datetime) -> Floats:
    """Turn rows into quotes at the frame's time, in place."""
    values[:, TICK_COLUMN_NAMES.index("ts")] = _ms(at) * 1000
    values[:, TICK_COLUMN_NAMES.index("traded")] = 0.0
    for name in ("vtt", "volume"):
        values[:, TICK_COLUMN_NAMES.index(name)] = NULL
    nullify(values)
    return values


def _copy(connection: Connection, values: Floats, at: datetime) -> None:
    ids = np.unique(values[:, TICK_COLUMN_NAMES.index("instrument_id")]).astype(int).tolist()
    make_room(connection, at)
    note_active(connection, ids, at)
    copy_rows(connection, COPY_TICKS, encode_rows(values))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
