"""What long commands show: one line now and then, and the account at the end."""

from __future__ import annotations

import logging
import time

import click

from ingest.consumer import Account
from ingest.supervisor import Progress

log = logging.getLogger(__name__)


class ProgressLine:
    """Log how far an ingestion is, every `every_s` seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._at = time.monotonic()
        self._ticks = 0

    def __call__(self, progress: Progress) -> None:
        """Show the progress if it is time to."""
        elapsed = time.monotonic() - self._at
        if elapsed < self._every_s:
            return
        account, feed = progress.consumer.account, progress.feed
        rate = (account.ticks - self._ticks) / elapsed
        self._at, self._ticks = time.monotonic(), account.ticks
        parts = []
        if feed:
            parts += [f"received={feed.stats.frames}", f"connected={feed.connected}"]
        parts += [f"frames={account.frames}", f"ticks={account.ticks}", f"ticks_per_s={rate:.0f}"]
        parts += [f"rejected={account.rejected}", f"quarantined={account.quarantined}"]
        if progress.reader:
            parts.append(f"backlog_bytes={progress.reader.backlog_bytes()}")
        if progress.writer and progress.writer.away_since is not None:
            parts.append(f"database_away_s={time.monotonic() - progress.writer.away_since:.0f}")
        log.info("ingesting %s", " ".join(parts))


def print_account(name: str, account: Account, counts: dict[str, int]) -> None:
    """Print what became of the frames of one stream."""
    parts = [
        f"{account.frames + account.frames_before:,} frames",
        f"{account.ticks:,} ticks written",
    ]
    if account.frames_before:
        parts.append(f"{account.frames_before:,} frames were in the ledger already")
    if account.rejected:
        parts.append(f"{account.rejected:,} updates rejected (see tickline.rejected_ticks)")
    if account.quarantined:
        parts.append(f"{account.quarantined:,} frames do not parse (see tickline.quarantined_frames)")
    if counts.get("backward"):
        parts.append(f"{counts['backward']:,} backward updates kept as quotes")
    if counts.get("empty"):
        parts.append(f"{counts['empty']:,} empty updates")
    click.echo(f"{name}: {', '.join(parts)}")
