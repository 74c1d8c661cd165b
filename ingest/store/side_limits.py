"""Side limits: how many rejected ticks and quarantined frames a day may keep.

A broken or hostile feed can make every frame a row of a side table. What is beyond a day's limit is counted in the
ledger and in `tickline.side_rows`; the journal has the frames. Runs inside the writer's transaction, so the counts
are exact whatever is killed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ingest.database.queries import query
from ingest.settings import Settings
from ingest.store.batch import QuarantinedFrame, RejectedTick

log = logging.getLogger(__name__)

REJECTED, QUARANTINED = "rejected_ticks", "quarantined_frames"
FRAME_ROW_BYTES = 200  # of a frame's row and its index entry besides the payload: small frames are limited too


@dataclass(frozen=True, slots=True)
class SideLimits:
    """What a day and collector may add to side tables; the defaults are those of the settings."""

    rejected_rows_max: int = 50_000
    quarantine_bytes_max: int = 256 * 2**20


def side_limits(settings: Settings) -> SideLimits:
    """Return the limits of the settings."""
    return SideLimits(settings.rejected_rows_per_day_max, settings.quarantine_bytes_per_day_max)


@dataclass(slots=True)
class Findings:
    """Refused updates and frames of a batch: those that are kept, and the number of others."""

    rejected: Sequence[RejectedTick]
    quarantined: Sequence[QuarantinedFrame]
    left_out: Counter[str] = field(default_factory=Counter)  # relation -> rows
    unlisted_updates: int = 0  # of rejected ticks left out, those that their frame alone does not show
    unlisted_frames: int = 0


def within_limits(
    connection: psycopg.Connection[Any],
    collector: str,
    rejected: Sequence[RejectedTick],
    quarantined: Sequence[QuarantinedFrame],
    limits: SideLimits,
) -> Findings:
    """Return what may be kept of a batch's refused updates and frames, the first of them; count all.

    Runs in the transaction that writes the batch, and raises psycopg's errors.
    """
    if not rejected and not quarantined:
        return Findings(rejected, quarantined)
    found = connection.execute(query("refused/side_rows_of_today"), {"collector": collector}).fetchall()
    kept = {relation: (rows, size) for relation, rows, size in found}
    room = max(limits.rejected_rows_max - kept.get(REJECTED, (0, 0))[0], 0)
    fitting = _fitting(quarantined, limits.quarantine_bytes_max - kept.get(QUARANTINED, (0, 0))[1])
    findings = Findings(rejected[:room], quarantined[:fitting])
    beyond = rejected[room:]
    findings.unlisted_updates = sum(tick.updates for tick in beyond if tick.held_back or tick.sqlstate is not None)
    findings.unlisted_frames = len(quarantined) - fitting
    for relation, rows, size, left_out in (
        (REJECTED, len(findings.rejected), 0, len(beyond)),
        (QUARANTINED, fitting, sum(map(_bytes_of, findings.quarantined)), findings.unlisted_frames),
    ):
        if rows or left_out:
            counts = {"collector": collector, "relation": relation, "kept": rows, "kept_bytes": size}
            connection.execute(query("refused/count_side_rows"), counts | {"left_out": left_out})
        if left_out:
            findings.left_out[relation] = left_out
    return findings


def _fitting(frames: Sequence[QuarantinedFrame], room_bytes: int) -> int:
    """Return how many of the frames fit, from the first on."""
    for number, frame in enumerate(frames):
        room_bytes -= _bytes_of(frame)
        if room_bytes < 0:
            return number
    return len(frames)


def _bytes_of(frame: QuarantinedFrame) -> int:
    return FRAME_ROW_BYTES + len(frame.payload)
