"""Checks of the disk and of the journal on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from ingest.doctor.findings import State, failure, fine, warning
from ingest.doctor.installation import Installation
from ingest.journal.folder import bytes_of, is_stream, read_header, segments_of
from ingest.own_api import STATUS

GB = 1e9
QUOTA_SHARE_HIGH = 0.8
LAG_BYTES_HIGH = 64 * 2**20  # a minute of a full desk


def check_disk(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the disk of the home folder has room."""
    config = installation.settings
    nearest = next(one for one in (config.home.absolute(), *config.home.absolute().parents) if one.exists())
    found = shutil.disk_usage(nearest)
    said = f"{found.free / GB:,.1f} GB of {found.total / GB:,.1f} GB free at {config.home}"
    least = config.journal_free_bytes_min
    if found.free < least:
        yield failure(f"{said}: below {least / GB:,.1f} GB the feed is not read", "free space")
    elif found.free < 2 * least:
        yield warning(f"{said}; below {least / GB:,.1f} GB the feed stops", "free space soon")
    else:
        yield fine(said)


def check_journal(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that each stream's segments can be read and are within the quota, and how far the database is behind."""
    config = installation.settings
    folder, quota = config.journal_folder, config.journal_quota_bytes
    streams = sorted(path for path in folder.iterdir() if is_stream(path.name)) if folder.is_dir() else []
    if not streams:
        yield fine(f"none yet for collector {config.collector!r}")
        return
    for stream in streams:
        segments = segments_of(stream)
        size = bytes_of(segments)
        since = f" since {segments[0].name[:8]}" if segments else ""
        said = f"stream {stream.name}: {len(segments):,} segment(s), {size / GB:,.2f} GB{since}"
        if segments:
            read_header(segments[-1])  # raises if the newest is damaged
        if quota and size >= quota:
            yield failure(f"{said}: the quota is used up, and the feed is not read", "bring the database back")
        elif quota and size >= QUOTA_SHARE_HIGH * quota:
            yield warning(f"{said}, of {quota / GB:,.1f} GB allowed", "see whether the database takes the records")
        else:
            yield fine(said)
    lag = (installation.answer(STATUS) or {}).get("journal_lag_bytes") or 0
    if lag > LAG_BYTES_HIGH:
        yield warning(f"{lag / GB:,.2f} GB are not in the database yet", "see the database's lines")
