"""`tickline db`: create, migrate, inspect and maintain the database."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analytics.cli.options import DAY_HELP, Day
from ingest.market.shown_time import jsonable
from ingest.terminal import progress_bar, progress_line

if TYPE_CHECKING:
    from ingest.database.operations.retention import DayReport


@click.group("db")
def command() -> None:
    """Create, migrate, inspect and maintain the database."""


@command.command()
@click.option("--with-roles", is_flag=True, help="Also create the roles owner, writer and reader, and their rights.")
def upgrade(*, with_roles: bool) -> None:
    """Create or migrate the schema. Safe to repeat and to run twice at once.

    --with-roles, on a server of a URL, needs a login that may create roles: use a superuser's once. It creates
    tickline_owner, tickline_writer and tickline_reader, and gives everything to the owner. Set TICKLINE_WRITER_PASSWORD
    and TICKLINE_READER_PASSWORD to let the two log in, or make logins that are members of them.
    """
    from ingest.database import upgrade
    from ingest.database.connections import HEAD, Database
    from ingest.database.settings import DatabaseSettings, load

    settings = load(DatabaseSettings)
    with Database.open(settings) as database:
        applied = upgrade.upgrade(database, logins=settings.passwords if with_roles else None)
        done = f"applied {', '.join(applied)}" if applied else "nothing to do"
        click.echo(f"{done}: schema {HEAD}, engine {database.engine}")


@command.command()
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(output_format: str) -> None:
    """Show what an operator asks first: versions, days, sizes, jobs and their errors, replication, settings.

    The last table has the server's settings that differ from what we recommend, with the reason.
    """
    from ingest.cli.operate.database_status import show
    from ingest.database.connections import Database
    from ingest.database.operations.status import status as status_of
    from ingest.database.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database:
        found = status_of(database)
    if output_format == "json":
        click.echo(json.dumps(found.as_dict(), default=jsonable, indent=2))
    else:
        show(found)


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Write the whole database to FILE, as one snapshot; recording may go on.

    Uses pg_dump of at least the server's version: the embedded server's own, or one on the PATH. Keep a copy of
    TICKLINE_HOME/journal too: it has what comes after the backup.
    """
    from ingest.database.connections import Database
    from ingest.database.operations.backup import backup as write_backup
    from ingest.database.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database, progress_line() as line:
        size = write_backup(database, file, show=lambda table: line(f"writing {table}"))
    click.echo(f"{file}  {size / 1e6:,.1f} MB")


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Restore a backup into an empty database, and nothing if that fails.

    With a URL of a TimescaleDB server, its user must be a superuser. Afterwards `tickline start`, or `tickline replay`
    of the journal's segments, commits what came after the backup.
    """
    from ingest.database.connections import Database
    from ingest.database.operations.backup import is_older
    from ingest.database.operations.backup import restore as read_backup
    from ingest.database.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database, progress_line() as line:
        found = read_backup(database, file, show=lambda table: line(f"restoring {table}"))
    if found.lacks_rights:
        upgrade_it = ": run `tickline db upgrade --with-roles`, so that the roles of this server may use it"
    else:
        upgrade_it = ": run `tickline db upgrade`" if is_older(found) else ""
    click.echo(f"restored: schema {found.revision}, engine {found.engine}{upgrade_it}")


@command.command()
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Keep the ticks of this many days before today (UTC).",
)
@click.option("--dry-run", is_flag=True, help="Show which days may go and what the others lack; drop no ticks.")
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def retain(*, keep_days: int, dry_run: bool, output_format: str) -> None:
    """Drop the ticks of old days if nothing is lost. Bars stay.

    Builds unfinished bars first. Drops a day only if its bars are stored and include all of its ticks, and if it was
    reconciled (`tickline reconcile`) or exported in full (`tickline export`). Exit code 1: an old day had to
    stay.
    """
    from ingest.database.connections import Database
    from ingest.database.operations.retention import retain as retain_days
    from ingest.database.pool import run_with_pool
    from ingest.database.settings import DatabaseSettings, load
    from ingest.store.bar_refresh import refresh_touched

    reports: list[DayReport] = []
    with Database.open(load(DatabaseSettings)) as database:
        assert database.engine  # checks the schema
        with progress_line() as line:
            line("building unfinished bars")
            run_with_pool(database.url, refresh_touched)
        before = datetime.now(UTC).date() - timedelta(days=keep_days)
        with progress_bar() as bar:

            def show(day: date, done: int, total: int) -> None:
                bar(f"checking {day}", done, total)

            for report in retain_days(database, before, dry_run=dry_run, show=show):
                reports.append(report)
                bar("")
                if output_format == "table":
                    fate = "dropped" if report.dropped else "stays" if report.missing else "may go"
                    missing = "; ".join(report.missing)
                    click.echo(f"{report.day}  {fate:<8} {report.ticks:>12,} ticks  {missing}".rstrip())
    if output_format == "json":
        click.echo(json.dumps([report.as_dict() for report in reports], default=jsonable, indent=2))
    elif not reports:
        click.echo(f"no ticks are older than {keep_days} days", err=True)
    if any(report.missing for report in reports):
        sys.exit(1)


@command.command()
@click.option(
    "--day", "days", type=Day(is_utc=True), multiple=True, help=f"Rebuild this UTC day: {DAY_HELP}; may be repeated."
)
def refresh(days: tuple[date, ...]) -> None:
    """Rebuild bars from ticks; without --day only unfinished ones, and the planner's statistics of `ticks`.

    `start` and `replay` do this by themselves.
    """
    from ingest.database.connections import Database
    from ingest.database.operations.statistics import analyze_parents
    from ingest.database.pool import run_with_pool
    from ingest.database.settings import DatabaseSettings, load
    from ingest.store.bar_refresh import refresh_bars, refresh_touched

    with Database.open(load(DatabaseSettings)) as database:
        assert database.engine  # checks the schema
        if not days:
            with progress_bar() as bar:

                def show_range(number: int, count: int) -> None:
                    bar("rebuilding unfinished bars", number - 1, count)

                run_with_pool(database.url, partial(refresh_touched, show=show_range))
                bar("statistics of ticks")
                with database.connect_as_owner(autocommit=True) as connection:
                    analyze_parents(connection)
            click.echo("all unfinished bars rebuilt")
        for day in days:
            start = datetime.combine(day, time(), UTC)
            with progress_bar() as bar:

                def show_hour(done: int, count: int, text: str = f"bars of {start:%Y-%m-%d}") -> None:
                    bar(text, done, count)

                end = start + timedelta(days=1)
                run_with_pool(database.url, partial(refresh_bars, start=start, end=end, show=show_hour))
            click.echo(f"{start:%Y-%m-%d}  bars rebuilt")
