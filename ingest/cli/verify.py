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
    """Compare the journal with the ledger and the table, frame by frame.

    Exit code 0: everything that was journalled is committed once, or waits to be. Exit code 1: it does
    not add up, and the lines say where.
    """
    from psycopg import IsolationLevel

    from ingest.cli.common import ready_database
    from ingest.config import settings
    from ingest.verify import streams_of, verify_stream

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
    if form == "json":
        click.echo(json.dumps([report.as_dict() for report in reports], indent=2))
    for report in reports if form == "table" else ():
        click.echo(
            f"{report.collector}/{report.stream}: {report.segments} segments, {report.frames:,} frames journalled = "
            f"{report.committed:,} committed + {report.pending:,} pending; {report.ticks:,} ticks, "
            f"{report.rejected:,} rejected, {report.quarantined:,} frames quarantined"
        )
        for problem in report.problems:
            click.echo(f"  {problem}", err=True)
        for kind, count in report.problem_counts.items():
            click.echo(f"  {kind}: {count:,} in all", err=True)
    if not reports:
        click.echo("nothing to verify: there is no journal here")
    elif not all(report.adds_up for report in reports):
        click.echo("tickline: it does not add up", err=True)
        sys.exit(1)
    elif form == "table":
        click.echo("it adds up")
