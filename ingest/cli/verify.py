"""`tickline verify`: does it all add up?"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime

import click

log = logging.getLogger(__name__)


@click.command("verify")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only this Indian day.  [default: all of the journal]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(day: datetime | None, form: str) -> None:
    """Compare the journal with the ledger and the table, frame by frame, and each day's volumes with each other.

    Exit code 0: everything that was journalled is committed once, or waits to be, and of every instrument
    the volume of the bars and of the gaps is what the exchange counted. Exit code 1: it does not add up,
    and the lines say where.
    """
    from psycopg import IsolationLevel

    from ingest.cli.common import ready_database
    from ingest.config import settings
    from ingest.verify import streams_of, verify_stream
    from ingest.volumes import verify_volumes

    config = settings()
    with ready_database(config) as database, database.connect() as connection:
        connection.read_only = True
        # One snapshot for ledger and table: what an ingester commits meanwhile is pending here.
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        reports = [
            verify_stream(
                connection,
                collector,
                folder,
                day=day.date() if day else None,
                show=lambda name: log.info("verifying segment=%s", name),
            )
            for collector, folder in streams_of(config.home / "journal")
        ]
        volumes = list(verify_volumes(connection, day.date() if day else None))
    if form == "json":
        click.echo(json.dumps([one.as_dict() for one in reports] + [one.as_dict() for one in volumes], indent=2))
    for report in reports if form == "table" else ():
        click.echo(
            f"{report.collector}/{report.stream}: {report.segments} segments, {report.frames:,} frames journalled = "
            f"{report.committed:,} committed + {report.pending:,} pending; {report.ticks:,} ticks, "
            f"{report.rejected:,} rejected, {report.quarantined:,} frames quarantined"
            + (f", {report.duplicates:,} updates brought twice" if report.duplicates else "")
        )
        for note in report.notes:
            click.echo(f"  {note}")
        for problem in report.problems:
            click.echo(f"  {problem}", err=True)
        for kind, count in report.problem_counts.items():
            click.echo(f"  {kind}: {count:,} in all", err=True)
    for volume in volumes if form == "table" else ():
        click.echo(
            f"{volume.day}: volumes not checked, {volume.skipped}"
            if volume.skipped
            else f"{volume.day}: {volume.instruments:,} instruments, {volume.bar_volume:,} units in bars + "
            f"{volume.gap_volume:,} in gaps; {volume.day_volume:,} traded"
        )
        for problem in volume.problems:
            click.echo(f"  volume: {problem}", err=True)
    if not reports and not volumes:
        click.echo("nothing to verify: there is no journal here, and no day is recorded")
    elif not (all(one.adds_up for one in reports) and all(one.adds_up for one in volumes)):
        click.echo("tickline: it does not add up", err=True)
        sys.exit(1)
    elif form == "table":
        click.echo("it adds up")
