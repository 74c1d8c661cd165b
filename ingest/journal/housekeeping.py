"""Keep a stream's folder small: compress closed segments, delete committed ones when they expire.

Never deletes uncommitted data. Leaves the segment that is being written to the writer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ingest.journal.compression import pack
from ingest.journal.folder import SUFFIX, bytes_of, day_of, segment_name, segments_of, sync_folder
from ingest.model.records import Position, order_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """Result of a round of housekeeping."""

    compressed: int
    deleted: int


def tidy(
    folder: Path,
    committed: Position | None,
    *,
    keep_days: int,
    quota_bytes: int,
    now: datetime,
    held: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Kept:
    """Compress and delete segments of one stream.

    Parameters
    ----------
    folder
        The stream's folder.
    committed
        Where the database's ledger ends; segments before it may be deleted.
    keep_days
        Days for which committed segments are kept, counted from the Indian day in their name.
    quota_bytes
        If the folder is larger, committed segments are deleted early, oldest first; 0: no quota.
    now
        The time, aware.
    held
        Name of the segment that a writer holds; it and all later ones are left alone. "": the newest one is.
    stopped
        Called between segments; True ends the round.
    """
    compressed = 0
    for path in _closed(folder, held):
        if stopped():
            return Kept(compressed, 0)
        if path.suffix == SUFFIX:
            _compress(path)
            compressed += 1
    oldest_kept = day_of(int((now - timedelta(days=keep_days)).timestamp() * 1e6))
    deleted = 0
    used = bytes_of(segments_of(folder))
    for path in _closed(folder, held):
        name = segment_name(path)
        if committed is None or order_of(name) >= order_of(committed.segment):
            break
        if name[:8] < oldest_kept or (quota_bytes and used > quota_bytes):
            used -= path.stat().st_size
            path.unlink()
            deleted += 1
            log.info("journal segment deleted segment=%s", name)
    return Kept(compressed, deleted)


def _closed(folder: Path, held: str) -> list[Path]:
    """Return the segments that nobody is writing."""
    segments = segments_of(folder)
    if not held:
        return segments[:-1]
    return [path for path in segments if order_of(segment_name(path)) < order_of(held)]


def _compress(path: Path) -> None:
    """Replace a closed segment with its compressed form; a power cut leaves at least one of them whole."""
    packed_path = path.with_name(path.name + ".zst")
    making = packed_path.with_name(packed_path.name + ".tmp")
    try:
        with path.open("rb") as raw, making.open("wb") as packed:
            size = path.stat().st_size
            written = pack(raw, packed, size)
            packed.flush()
            os.fsync(packed.fileno())
        making.chmod(0o600)
        making.replace(packed_path)
    except OSError:
        making.unlink(missing_ok=True)  # on a full disk it takes the last bytes
        raise
    sync_folder(path.parent)
    path.unlink()
    log.info("journal segment compressed segment=%s bytes=%d to=%d", segment_name(path), size, written)
