"""The commands `tickline bars`, `ticks`, `sql`, `export` and `reconcile`.

Owns their arguments. Each command imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from analytics.cli.options import (
    DAY_HELP,
    SOURCES,
    Day,
    Shown,
    check_range,
    output_options,
    parse_interval,
    range_options,
)
from ingest.errors import ConfigError
from ingest.terminal import Progress, progress_bar

if TYPE_CHECKING:
    import polars as pl

    from analytics.schema import Source


def _say_absent(names: list[tuple[str, str]], frame: pl.DataFrame) -> None:
    """Print which instruments have no row, if others have rows."""
    there = set(frame["instrument_key"].unique())
    for name, key in names:
        if there and key not in there:
            click.echo(f"no rows for {name!r} ({key}): it was not recorded in this range", err=True)


@click.command("bars")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option(
    "--interval",
    metavar="INTERVAL",
    callback=parse_interval,
    default="1m",
    show_default=True,
    help="1m, 5m, 15m, 30m, 1h, 75m, any Nm up to a day, 1d, 1w, 1mo.",
)
@range_options
@click.option(
    "--source",
    type=click.Choice(SOURCES),
    default="best",
    show_default=True,
    help="ticks: our bars; official: the vendor's; best: the vendor's if there is one, otherwise ours.",
)
@output_options
def bars_command(
    *,
    keys: tuple[str, ...],
    interval: str,
    start: datetime | None,
    end: datetime | None,
    source: str,
    shown: Shown,
) -> None:
    """Print OHLCV bars of instruments.

    A KEY is an instrument key or a name: INFY, "NIFTY FUT", "BANKNIFTY 59400 CE 30 DEC 25"; without an expiry, the
    nearest one is meant.
    Buckets start at the session's open. Times are IST in a table, UTC in other formats.
    """
    from analytics.read.bars_and_ticks import bars

    read = partial(bars, interval=interval, source=cast("Source", source))
    _write_rows(read, keys, start=start, end=end, shown=shown)


@click.command("ticks")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@range_options
@output_options
def ticks_command(
    *,
    keys: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    shown: Shown,
) -> None:
    """Print ticks of instruments, one row per update.

    A KEY is an instrument key or a name: INFY, "NIFTY FUT", "BANKNIFTY 59400 CE 30 DEC 25"; without an expiry, the
    nearest one is meant.
    """
    from analytics.read.bars_and_ticks import ticks

    _write_rows(ticks, keys, start=start, end=end, shown=shown)


@click.command("depth")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@range_options
@output_options
def depth_command(
    *,
    keys: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    shown: Shown,
) -> None:
    """Print the order books of instruments, one row per level of an update; recorded with TICKLINE_DEPTH=true.

    A KEY is an instrument key or a name: INFY, "NIFTY FUT", "BANKNIFTY 59400 CE 30 DEC 25"; without an expiry, the
    nearest one is meant.
    """
    from analytics.read.bars_and_ticks import depth

    _write_rows(depth, keys, start=start, end=end, shown=shown)


def _write_rows(
    read: Callable[..., pl.DataFrame],
    keys: tuple[str, ...],
    *,
    start: datetime | None,
    end: datetime | None,
    shown: Shown,
) -> None:
    """Read the rows of instruments by a function of the reader, and write them."""
    from analytics.cli.output import write
    from analytics.read.bars_and_ticks import keys_of
    from ingest.database.connections import Database
    from ingest.database.settings import DatabaseSettings, load

    check_range(start, end)
    with Database.open(load(DatabaseSettings)) as database:
        frame = read(keys, start=start, end=end, database=database)
        names = keys_of(keys, start=start, end=end, database=database)
    _say_absent(names, frame)
    write(frame, shown, names={key: name for name, key in reversed(names)})


# A statement may start with a comment, which looks like an option.
@click.command("sql", context_settings={"ignore_unknown_options": True})
@click.argument("statement", metavar='"SELECT ..."')
@output_options
def sql_command(*, statement: str, shown: Shown) -> None:
    """Run one read-only SQL statement; "-" reads it from stdin.

    The relations are instruments, ticks, bars_1m, bars_5m, best_bars_1m, best_bars_5m,
    official_bars_1m, latest_ticks, feed_gaps, unheard_minutes, days and signals.
    """
    from analytics.cli.output import write
    from analytics.read.statement import select
    from ingest.database.connections import Database
    from ingest.database.settings import DatabaseSettings, load

    text = _stdin() if statement == "-" else statement
    with Database.open(load(DatabaseSettings)) as database:
        frame = select(text, database)
    write(frame, shown)


def _stdin() -> str:
    """Return the statement from stdin."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"stdin is not UTF-8 at byte {exc.start}: convert it to UTF-8") from None


@click.command("export")
@click.option(
    "--day", "days", type=Day(is_utc=True), multiple=True, help=f"UTC day: {DAY_HELP}; may be repeated.  [default: all]"
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to.  [default: TICKLINE_HOME/archive]",
)
def export_command(*, days: tuple[date, ...], folder: Path | None) -> None:
    """Write ticks to Parquet, one file per day: FOLDER/ticks/date=YYYY-MM-DD/ticks.parquet.

    A UTC day contains one session. Without --day, exports every day before today that has ticks and was not exported
    yet. After `tickline db retain` has dropped a day, `tickline ticks` and analytics.ticks read its file.
    Depth is not exported, and goes with the ticks.
    """
    from analytics.read.export import days_to_export, export_day, ticks_of_day
    from ingest.database.connections import Database
    from ingest.database.settings import DatabaseSettings, load

    settings = load(DatabaseSettings)
    with Database.open(settings) as database:
        wanted = list(days) or days_to_export(database, datetime.now(UTC).date())
        for day in wanted:
            total = ticks_of_day(database, day) if sys.stderr.isatty() else None
            with progress_bar() as bar:

                def show(rows: int, day: date = day, bar: Progress = bar, total: int | None = total) -> None:
                    bar(f"{day}  {rows:,} ticks", rows, total)

                file, rows = export_day(day, folder or settings.home / "archive", database, show=show)
            size = file.stat().st_size
            click.echo(f"{day}  {rows:,} ticks  {size / 1e6:.1f} MB  {size / rows:.1f} bytes/tick  {file}")
    if not wanted:
        click.echo("no day to export: all complete days are exported", err=True)


@click.command("reconcile")
@click.option("--day", type=Day(), metavar="DAY", help=f"Indian day: {DAY_HELP}.  [default: today]")
@click.option("--minutes", is_flag=True, help="Print a row per minute that differs, not per instrument.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 100),
    default=90.0,
    show_default=True,
    help="Percent of completely received minutes whose closes must agree within one price tick.",
)
@output_options
def reconcile_command(*, day: date | None, minutes: bool, threshold: float, shown: Shown) -> None:
    """Compare our minute bars with the vendor's, and both with the day's volume, per instrument.

    Equal means equal to the paisa and to the unit. Shares and errors cover the minutes that were received completely
    and that both sides have; the others are only counted. Stderr shows how many minutes differ, by reason.

    Exit code 1: too few closes agree within one price tick (--threshold), or bars and gaps do not add up to the day's
    volume.
    """
    import polars as pl

    from analytics.cli.output import write
    from analytics.market_time import market_day
    from analytics.reconcile import reconcile
    from ingest.database.connections import Database
    from ingest.database.operations.retention import note_day
    from ingest.database.settings import DatabaseSettings, load

    on = day or market_day(datetime.now(UTC))
    with Database.open(load(DatabaseSettings)) as database:
        with progress_bar() as bar:
            found = reconcile(on, database, lambda done, total: bar(f"comparing the bars of {on}", done, total))
        agrees = found.volumes_add_up and found.close_share * 100 >= threshold
        if agrees and found.minutes.height:
            with database.connect() as connection:  # `tickline db retain` asks for it
                note_day(connection, [on], reconciled_at=datetime.now(UTC))
    if not found.minutes.height:
        raise ConfigError(f"day {on} has no bars: record it, or name another with --day")
    frame = found.minutes.filter(pl.col("reason") != "equal").drop("instrument_id") if minutes else found.instruments
    write(frame, shown)
    for reason, count, share, meaning in found.reasons().iter_rows():
        click.echo(f"{reason:>10} {count:8,} minutes {share:7.2%}  {meaning}", err=True)
    click.echo(f"closes within one price tick: {found.close_share:.2%} of completely received minutes", err=True)
    if not found.volumes_add_up:
        click.echo("tickline: volume is missing or counted twice: see column unaccounted", err=True)
    elif not agrees:
        click.echo(f"tickline: fewer closes than --threshold ({threshold:g} %) agree within one price tick", err=True)
    if not agrees:
        sys.exit(1)
