"""Output of long commands: a progress line now and then, and totals at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from ingest.errors import StoreError
from ingest.universe.instrument_master import unnamed

if TYPE_CHECKING:
    from ingest.database.connections import Database
    from ingest.live.supervisor import Run
    from ingest.pipeline.consumer import Consumer, StreamCounts
    from ingest.terminal import Progress

log = logging.getLogger(__name__)


class ProgressLine:
    """Log the progress of an ingestion every `every_s` seconds; nothing while the market is closed and no tick comes.

    The first line comes after `first_s`, so that somebody who looks on sees that it works.
    """

    def __init__(self, every_s: float, *, first_s: float | None = None) -> None:
        self._every_s = every_s
        self._due_s = every_s if first_s is None else first_s
        self._at = time.monotonic()
        self._ticks = 0

    def __call__(self, running: Run) -> None:
        """Log a line if it is due."""
        elapsed = time.monotonic() - self._at
        if elapsed < self._due_s:
            return
        self._due_s = self._every_s
        streams = running.streams
        counts = [stream.consumer.counts for stream in streams]
        ticks = sum(one.ticks for one in counts)
        if ticks == self._ticks and not any(map(running.ingestion.watchdog.is_open, streams)):
            self._at = time.monotonic()
            return
        rate = (ticks - self._ticks) / elapsed
        self._at, self._ticks = time.monotonic(), ticks
        parts = []
        if feeds := [feed for stream in streams for feed in stream.feeds if feed.keys]:
            parts.append(f"received={sum(feed.stats.frames for feed in feeds)}")
            parts.append(f"connected={sum(feed.connected for feed in feeds)}/{len(feeds)}")
        parts += [f"frames={sum(one.frames for one in counts)}", f"ticks={ticks}", f"ticks_per_s={rate:.0f}"]
        parts.append(f"rejected={sum(one.rejected for one in counts)}")
        parts.append(f"quarantined={sum(one.quarantined for one in counts)}")
        parts.append(f"backlog_bytes={sum(stream.waiting_bytes() for stream in streams)}")
        if running.writer.away_since is not None:
            parts.append(f"database_away_s={time.monotonic() - running.writer.away_since:.0f}")
        log.info("ingesting %s", " ".join(parts))


def show_on(bar: Progress, consumer: Consumer, done_bytes: int, total_bytes: int) -> None:
    """Show the progress of a replay: the stream that is read, and how much of all files is read."""
    counts = consumer.counts
    text = f"{consumer.stream}: {counts.frames + counts.frames_before:,} frames, {counts.ticks:,} ticks written"
    bar(text, done_bytes, total_bytes)


def print_unnamed(database: Database, consumers: Iterable[Consumer]) -> None:
    """Print how many instruments of these streams have no name, and the remedy; print nothing if all have one."""
    ids = {id_ for consumer in consumers for id_ in consumer.state.naming.met}
    try:
        with database.connect(autocommit=True) as connection:
            count, key = unnamed(connection, ids)
    except StoreError as exc:  # the command's own work is already done
        log.warning("instruments without a name not counted error=%s", exc)
        return
    if count:
        click.echo(
            f"{count:,} of {len(ids):,} instruments have no name, for example {key}: no loaded list has them on these "
            "days, and a later list may use their keys for other contracts: load a list of these days with "
            "`tickline universe refresh --file FILE`"
        )


def print_account(name: str, counts: StreamCounts, updates: dict[str, int]) -> None:
    """Print the totals of one stream: frames, ticks, and everything rejected or set aside."""
    parts = [
        f"{counts.frames + counts.frames_before:,} frames",
        f"{counts.ticks:,} ticks written",
    ]
    if counts.frames_before:
        parts.append(f"{counts.frames_before:,} frames already in the ledger")
    if counts.rejected:
        parts.append(f"{counts.rejected:,} updates rejected (see tickline.rejected_ticks)")
    if counts.duplicates:
        parts.append(f"{counts.duplicates:,} updates also received on the other connection")
    if counts.quarantined:
        parts.append(f"{counts.quarantined:,} frames in quarantine (see `tickline quarantine list`)")
    if updates.get("backward"):
        parts.append(f"{updates['backward']:,} backward updates kept as quotes")
    if updates.get("resets"):
        parts.append(f"{updates['resets']:,} resets of the exchange's volume counter")
    if updates.get("empty"):
        parts.append(f"{updates['empty']:,} empty updates")
    click.echo(f"{name}: {', '.join(parts)}")
