"""What long commands show: one line now and then, and the account at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import click

from ingest.database.connections import Database
from ingest.errors import StoreError
from ingest.live.supervisor import Run
from ingest.pipeline.consumer import Consumer, StreamCounts
from ingest.universe.instrument_master import unnamed

log = logging.getLogger(__name__)


class ProgressLine:
    """Log how far an ingestion is, every `every_s` seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._at = time.monotonic()
        self._ticks = 0

    def __call__(self, running: Run) -> None:
        """Log a line if it is time to."""
        elapsed = time.monotonic() - self._at
        if elapsed < self._every_s:
            return
        lines = running.lines
        accounts = [line.consumer.account for line in lines]
        ticks = sum(account.ticks for account in accounts)
        rate = (ticks - self._ticks) / elapsed
        self._at, self._ticks = time.monotonic(), ticks
        parts = []
        if feeds := [feed for line in lines for feed in line.feeds if feed.keys]:
            parts.append(f"received={sum(feed.stats.frames for feed in feeds)}")
            parts.append(f"connected={sum(feed.connected for feed in feeds)}/{len(feeds)}")
        parts += [f"frames={sum(account.frames for account in accounts)}", f"ticks={ticks}", f"ticks_per_s={rate:.0f}"]
        parts.append(f"rejected={sum(account.rejected for account in accounts)}")
        parts.append(f"quarantined={sum(account.quarantined for account in accounts)}")
        parts.append(f"backlog_bytes={sum(line.reader.backlog_bytes() for line in lines)}")
        if running.writer.away_since is not None:
            parts.append(f"database_away_s={time.monotonic() - running.writer.away_since:.0f}")
        log.info("ingesting %s", " ".join(parts))


def show_on(line: Callable[[str], None], consumer: Consumer) -> None:
    """Show how far the replay of a stream is."""
    account = consumer.account
    line(f"{consumer.stream}: {account.frames + account.frames_before:,} frames, {account.ticks:,} ticks written")


def print_unnamed(database: Database, consumers: Iterable[Consumer]) -> None:
    """Print how many instruments of some streams no list has named, and what to do; nothing if all have a name."""
    ids = {id_ for consumer in consumers for id_ in consumer.state.naming.met}
    try:
        with database.connect(autocommit=True) as connection:
            count, key = unnamed(connection, ids)
    except StoreError as exc:  # what was to be done is done
        log.warning("instruments without a name not counted error=%s", exc)
        return
    if count:
        click.echo(
            f"{count:,} of {len(ids):,} instruments have no name, {key} among them: no list that is loaded has them on "
            "these days, and a later one may have given their keys to others: load the list of these days, "
            "`tickline universe refresh --file FILE`"
        )


def print_account(name: str, account: StreamCounts, counts: dict[str, int]) -> None:
    """Print what became of the frames of one stream."""
    parts = [
        f"{account.frames + account.frames_before:,} frames",
        f"{account.ticks:,} ticks written",
    ]
    if account.frames_before:
        parts.append(f"{account.frames_before:,} frames were in the ledger already")
    if account.rejected:
        parts.append(f"{account.rejected:,} updates rejected (see tickline.rejected_ticks)")
    if account.duplicates:
        parts.append(f"{account.duplicates:,} updates brought by the other connection too")
    if account.quarantined:
        parts.append(f"{account.quarantined:,} frames do not parse (see tickline.quarantined_frames)")
    if counts.get("backward"):
        parts.append(f"{counts['backward']:,} backward updates kept as quotes")
    if counts.get("resets"):
        parts.append(f"{counts['resets']:,} resets of the exchange's count of volume")
    if counts.get("empty"):
        parts.append(f"{counts['empty']:,} empty updates")
    click.echo(f"{name}: {', '.join(parts)}")
