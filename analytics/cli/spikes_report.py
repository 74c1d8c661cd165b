"""`tickline spikes report`: what became of signals.

Owns the arguments and the output. Imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analytics.cli.options import DAY_HELP, Day, OutputFile, check_range, range_options
from ingest.market.shown_time import INDIA, ist, jsonable

if TYPE_CHECKING:
    import polars as pl

    from analytics.review.report import Report

FORMATS = ("table", "json", "csv")


@click.command("report")
@click.option("--day", type=Day(), help=f"A day: {DAY_HELP}.  [default: the newest day with signals]")
@range_options
@click.option("--rules", metavar="NAME", help="Only signals of the rules of this name.  [default: all]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--html", type=OutputFile(), help="Also write a page with charts; needs tickline[chart].")
@click.option(
    "--charts",
    type=click.IntRange(0, 50),
    default=6,
    show_default=True,
    help="Of the best, and of the worst, on the page.",
)
def report_command(
    *,
    day: date | None,
    start: datetime | None,
    end: datetime | None,
    rules: str | None,
    form: str,
    html: Path | None,
    charts: int,
) -> None:
    """Show signals with what became of them, and how often their direction held.

    Outcomes are moves in the direction of the signal after 5, 15 and 60 minutes, negative if the price turned; behind
    the close the last bar counts. The shares have Wilson's 95 % interval. CSV has the signals only, JSON everything.
    """
    from analytics.review.report import newest_range, read_report, with_bars
    from ingest.database.connections import Database
    from ingest.database.settings import DatabaseSettings, load

    if day is not None and (start or end):
        raise click.UsageError("give --day, or --from and --to")
    check_range(start, end)
    if html is not None:
        from analytics.charts import library

        library()  # before the search, because it may not be installed
    if day is not None:
        start = datetime.combine(day, datetime.min.time(), INDIA)
    with Database.open(load(DatabaseSettings)) as database:
        if start is None and end is None:
            first, last = newest_range(database, rules)
        else:
            first, last = _range(start, end if day is None else None)
        report = read_report(database, first, last, rules)
        drawn = with_bars(database, report, charts) if html is not None else []
    if html is not None:
        from analytics.review.report_file import write_report

        write_report(report, drawn, html)
    _show(report, form)


def _range(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """Return a whole range, as `spikes find` has it: a time alone means the rest of its day, or the day before it."""
    from analytics.market_time import day_start

    if start is None:
        assert end is not None
        return day_start(end - timedelta(microseconds=1)), end
    return start, day_start(start) + timedelta(days=1) if end is None else end


def _show(report: Report, form: str) -> None:
    """Print a report."""
    if form == "json":
        found = {
            "from": report.start,
            "to": report.end,
            "signals": _with_members(report.signals),
            "summary": report.figures.to_dicts(),
            "missed": report.missed.to_dicts(),
        }
        click.echo(json.dumps(found, indent=2, ensure_ascii=False, default=jsonable))
        return
    from analytics.cli.options import PLAIN, Shown
    from analytics.cli.output import write

    if form == "csv":
        write(_flat(report.signals), Shown("csv", None, all_rows=True, limit=None, columns=()))
        return
    click.echo(f"signals from {ist(report.start)} to {ist(report.end)}\n")
    write(_readable(report.signals), PLAIN)
    if not report.figures.is_empty():
        click.echo("\nof the signals, in the direction of each: held (95 % interval) of how many, median move\n")
        write(_readable_figures(report.figures), Shown(None, None, all_rows=True, limit=None, columns=()))
    if not report.missed.is_empty():
        click.echo("\nmissed, as labelled\n")
        write(report.missed.select("bucket", _name(), "note", "labelled_by"), PLAIN)


def _name() -> pl.Expr:
    import polars as pl

    return pl.coalesce("trading_symbol", "instrument_key").alias("instrument")


def _with_members(signals: pl.DataFrame) -> list[dict[str, Any]]:
    return signals.drop("instrument_id").to_dicts()


def _flat(signals: pl.DataFrame) -> pl.DataFrame:
    """Return signals with the number of their members."""
    import polars as pl

    return signals.drop("instrument_id").with_columns(pl.col("members").list.len().fill_null(0))


def _readable(signals: pl.DataFrame) -> pl.DataFrame:
    """Return the columns for people; moves in percent."""
    import polars as pl

    several = ["rule_set"] if signals["rule_set"].n_unique() > 1 else []
    moves = [(100 * pl.col(f"moved_{h}m")).round(2).alias(f"{h}m %") for h in (5, 15, 60)]
    return signals.select(
        "bucket", _name(), "direction", *several, pl.col("confidence").round(2), "severity",
        pl.col("members").list.len().fill_null(0), *moves, pl.col("verdict").alias("label"), "reasons",
    )  # fmt: skip


def _readable_figures(figures: pl.DataFrame) -> pl.DataFrame:
    """Return a column for each time after the signals."""
    import polars as pl

    several = ["rule_set"] if figures["rule_set"].n_unique() > 1 else []
    columns = []
    for horizon in (5, 15, 60):
        held, low, high = (
            (100 * pl.col(f"held_{horizon}m{end}")).round(0).cast(pl.Int64) for end in ("", "_low", "_high")
        )
        median = (100 * pl.col(f"median_{horizon}m")).round(2)
        text = pl.format("{} % ({} to {}) of {}, {} %", held, low, high, f"known_{horizon}m", median)
        columns.append(text.alias(f"after {horizon} min"))
    return figures.select(*several, "class", "signals", "right", "wrong", *columns)
