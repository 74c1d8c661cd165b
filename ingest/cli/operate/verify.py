"""`tickline verify`: check that journal, ledger, ticks and bars add up."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from analytics.cli.options import DAY_HELP, Day
from ingest.terminal import progress_bar

if TYPE_CHECKING:
    from psycopg import Connection

    from ingest.audit.report import StreamReport
    from ingest.audit.volume_check import VolumeReport
    from ingest.database.connections import Database
    from ingest.settings import Settings

log = logging.getLogger(__name__)


def _checked(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no address."""
    for value in values:
        if not re.fullmatch(r"https?://[^\s/?#@]+/?", value):
            raise click.BadParameter(f"{value!r} is no address of a collector: write it as https://host:8791")
    return values


@click.command("verify")
@click.option(
    "--day", type=Day(), metavar="DAY", help=f"Only this Indian day: {DAY_HELP}.  [default: all of the journal]"
)
@click.option(
    "--from",
    "sources",
    multiple=True,
    callback=_checked,
    metavar="URL",
    help="Verify the journal of the collector at this address; repeat it for more.  [default: that of TICKLINE_HOME]",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(day: date | None, sources: tuple[str, ...], form: str) -> None:
    """Check that nothing was lost or stored twice.

    Compares the journal with the ledger and the table of ticks, frame by frame, and for each instrument the volume of
    bars and gaps with the day's volume of the exchange. May run while an ingester records: frames received meanwhile
    are pending, and minutes whose bars are not complete are judged by their ticks.

    With --from, the journals are those of collectors elsewhere, read over their server; TICKLINE_COLLECTOR_TOKEN is
    what `journal-token` there holds.

    Exit code 0: every journalled frame is committed exactly once or pending, and the volumes agree. Exit code 1:
    something does not add up, and the output says where; or there is nothing to verify.
    """
    from ingest.database.readiness import ready_database
    from ingest.settings import settings

    config = settings()
    wanted = day
    with ready_database(config) as database:
        if sources:
            volumes, reports = _verify_elsewhere(database, sources, config, wanted)
        else:
            volumes, reports = _verify(database, config.home / "journal", wanted)
    if form == "json":
        click.echo(json.dumps([one.as_dict() for one in reports] + [one.as_dict() for one in volumes], indent=2))
    else:
        for report in reports:
            _show_stream(report)
        for volume in volumes:
            _show_volumes(volume)
    if not any(one.frames for one in reports) and not volumes:
        where = f"on {wanted}" if wanted else "here"
        click.echo(
            f"tickline: nothing to verify {where}: no frame in the journal and no tick in the database: check "
            "TICKLINE_HOME, TICKLINE_DATABASE_URL and --day",
            err=True,
        )
        sys.exit(1)
    if not (all(one.adds_up for one in reports) and all(one.adds_up for one in volumes)):
        click.echo("tickline: it does not add up", err=True)
        sys.exit(1)
    if form == "table":
        click.echo("it adds up")


def _verify(database: Database, journal: Path, day: date | None) -> tuple[list[VolumeReport], list[StreamReport]]:
    from ingest.audit.journal_check import streams_of, verify_stream

    with _snapshot(database, day) as (connection, volumes), _progress(journal) as advance:
        reports = [
            verify_stream(connection, collector, folder, day=day, show=_say, advance=advance)
            for collector, folder in streams_of(journal)
        ]
    return volumes, reports


def _verify_elsewhere(
    database: Database, urls: Sequence[str], config: Settings, day: date | None
) -> tuple[list[VolumeReport], list[StreamReport]]:
    import asyncio

    from ingest.audit.journal_check import verify_stream
    from ingest.live.distributed.writing import http_collector
    from ingest.transport.fetched_stream import FetchedStream

    reports = []
    with (
        _snapshot(database, day) as (connection, volumes),
        asyncio.Runner() as runner,
        TemporaryDirectory(prefix="tickline-verify-") as folder,
        progress_bar() as show,
    ):
        for url in urls:
            source = http_collector(url, config)
            try:
                listing = runner.run(source.streams())
                total, done = sum(one.size for segments in listing.streams.values() for one in segments), 0
                for name, segments in listing.streams.items():

                    def advance(size: int) -> None:
                        nonlocal done
                        done += size
                        show(f"verifying {listing.collector}", done, total or None)  # noqa: B023

                    stream = FetchedStream(source, name, segments, Path(folder), runner.run)
                    reports.append(
                        verify_stream(connection, listing.collector, stream, day=day, show=_say, advance=advance)
                    )
                    stream.close()
            finally:
                runner.run(source.close())
    return volumes, reports


@contextmanager
def _snapshot(database: Database, day: date | None) -> Iterator[tuple[Connection[Any], list[VolumeReport]]]:
    """Yield a connection with one snapshot for ledger and table, and the volumes in it.

    Commits made meanwhile count as pending: the journal is read afterwards, so it has what the snapshot has.
    """
    from psycopg import IsolationLevel

    from ingest.audit.volume_check import verify_volumes
    from ingest.store.bar_refresh import bars_at_rest

    with database.connect() as connection:
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with bars_at_rest(database.url):
            volumes = list(verify_volumes(connection, day))
        yield connection, volumes


def _say(name: str) -> None:
    log.debug("verifying segment=%s", name)


@contextmanager
def _progress(journal: Path) -> Iterator[Callable[[int], None]]:
    """Show progress on a terminal; yield a function to call with the number of bytes read."""
    from ingest.audit.journal_check import streams_of
    from ingest.journal.folder import bytes_of

    total = sum(bytes_of(folder.glob("*.journal*")) for _, folder in streams_of(journal))
    done = 0
    with progress_bar() as show:

        def advance(size: int) -> None:
            nonlocal done
            done += size
            show("verifying", done, total)

        show("verifying", 0, total or None)  # the journal; without one, only volumes
        yield advance


def _show_stream(report: StreamReport) -> None:
    click.echo(
        f"{report.collector}/{report.stream}: {report.segments:,} segment(s), {report.frames:,} frames journalled = "
        f"{report.committed:,} committed + {report.pending:,} pending; {report.ticks:,} ticks, "
        f"{report.rejected:,} rejected, {report.quarantined:,} frames quarantined"
        + (f", {report.duplicates:,} duplicate updates" if report.duplicates else "")
    )
    for note in report.notes:
        click.echo(f"  {note}")
    for problem in report.problems:
        click.echo(f"  {problem}", err=True)
    for kind, count in report.problem_counts.items():
        click.echo(f"  {kind}: {count:,} in all", err=True)


def _show_volumes(volume: VolumeReport) -> None:
    click.echo(
        f"{volume.day}: volumes not checked, {volume.skipped}"
        if volume.skipped
        else f"{volume.day}: {volume.instruments:,} instruments, {volume.bar_volume:,} units in bars + "
        f"{volume.gap_volume:,} in gaps; {volume.day_volume:,} traded"
    )
    if volume.unsettled:
        click.echo(f"  {volume.unsettled:,} minutes without complete bars, judged by their ticks")
    if volume.differing and volume.unlisted:
        click.echo(f"  {volume.unlisted:,} rejected updates are only counted: the volume below may be theirs")
    for problem in volume.problems:
        click.echo(f"  volume: {problem}", err=True)
