"""`tickline spikes`: find spikes in bars, store them as signals, evaluate the detector.

Owns the arguments and the output. Each command imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analytics.cli.evaluate import evaluate_command
from analytics.cli.options import PLAIN, OutputFile, Shown, check_range, output_options, range_options
from analytics.cli.spikes_fit import fit_command
from analytics.cli.spikes_label import label_command
from analytics.cli.spikes_report import report_command
from ingest.market.shown_time import ist

if TYPE_CHECKING:
    import polars as pl

    from analytics.signals.find import Scope
    from analytics.signals.rules import Rules
    from ingest.database.connections import Database

RETRY_S = 2.0  # when the database is away
RULES_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _parse_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a valid webhook URL."""
    from analytics.signals.notify import check_webhook
    from ingest.errors import ConfigError

    try:
        return None if value is None else check_webhook(value)
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


class _DefaultGroup(click.Group):
    """A group with a default command: `tickline spikes INFY` means `tickline spikes find INFY`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command if none is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["find", *args]
        return super().parse_args(ctx, args)


@click.group("spikes", cls=_DefaultGroup)
def command() -> None:
    """Find spikes of price and volume, store them as signals, evaluate the detector.

    `tickline spikes INFY --from 2026-11-20` finds spikes; `tickline spikes find --help` lists the options.
    """


@command.command("find")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@range_options
@click.option("--follow", "is_follow", is_flag=True, help="Continue with each completed minute until Ctrl-C.")
@click.option(
    "--for", "for_s", type=click.FloatRange(min=0, min_open=True), help="Stop following after this many seconds."
)
@click.option("--rules", "rules_file", type=RULES_FILE, help="TOML file of rules.  [default: built-in rules]")
@click.option(
    "--log",
    "log_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --follow: append new signals as JSON lines.  [default: logs/signals.log under TICKLINE_HOME, rotating]",
)
@click.option(
    "--webhook",
    metavar="URL",
    callback=_parse_url,
    help="With --follow: post each minute's new signals as a JSON array.",
)
@click.option("--chart", type=OutputFile(), help="Draw bars and spikes of one KEY as HTML; needs tickline[chart].")
@output_options
def find_command(
    *,
    keys: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    is_follow: bool,
    for_s: float | None,
    rules_file: Path | None,
    log_file: Path | None,
    webhook: str | None,
    chart: Path | None,
    shown: Shown,
) -> None:
    """Find spikes, store them in the relation signals, and print them.

    Without KEY, searches all instruments that have bars; without a range, the newest day. Stores each spike once,
    however often it is found. With --follow, searches new minutes too. Each new signal sends NOTIFY tickline_signals.
    """
    from analytics.cli.output import write
    from analytics.signals.find import Scope
    from analytics.signals.notify import check_log
    from analytics.signals.rules import load_rules
    from analytics.signals.settings import SignalSettings
    from ingest.database.connections import Database
    from ingest.database.settings import load

    if chart is not None and (len(keys) != 1 or is_follow):
        raise click.UsageError("--chart needs exactly one KEY and no --follow")
    if is_follow and (start or end or shown != PLAIN):
        raise click.UsageError(
            "--follow starts with the newest day and prints lines: omit range, format, output, rows and columns"
        )
    if not is_follow and (webhook or log_file or for_s):
        raise click.UsageError("--webhook, --log and --for need --follow")
    check_range(start, end)
    if chart is not None:
        from analytics.charts import library
        from analytics.signals.chart import draw, write_html

        library()  # before the search, because it may not be installed
    if log_file is not None:
        check_log(log_file)
    settings = load(SignalSettings)
    rules = settings.applied_to(load_rules(rules_file))
    with Database.open(settings) as database:
        if is_follow:
            place = log_file or settings.home / "logs" / "signals.log"
            click.echo(f"following with rules {rules.name}; new signals also go to {place}; Ctrl-C stops")
            _follow(database, Scope(rules, keys), log_file, webhook, for_s)
            return
        found, bars = _find(database, rules, keys, start, end, with_bars=chart is not None)
    if chart is not None:
        write_html(draw(bars, found), f"{keys[0]}, rules {rules.name}", chart)
    write(_shown(found), shown)


def _find(
    database: Database,
    rules: Rules,
    keys: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    *,
    with_bars: bool,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the signals of a range, and its bars if `with_bars`."""
    from datetime import timedelta

    import polars as pl

    from analytics.market_time import day_start
    from analytics.read.bars_and_ticks import bars
    from analytics.signals.find import Scope, empty_signals, find, newest_day

    if start is None:  # with only an end: the day in which it lies
        start = newest_day(database) if end is None else day_start(end - timedelta(microseconds=1))
    last = day_start(start) + timedelta(days=1) if end is None else end
    days = list(find(database, Scope(rules, keys), start, last))
    found = pl.concat([empty_signals(), *days])
    shown = bars(keys, start=start, end=last, database=database) if with_bars else pl.DataFrame()
    return found, shown


def _follow(database: Database, scope: Scope, log_file: Path | None, webhook: str | None, for_s: float | None) -> None:
    """Follow until SIGINT, SIGTERM or `for_s` seconds have passed."""
    import signal
    import threading
    import time

    from analytics.signals.find import follow
    from analytics.signals.notify import append_to_log, log_signals, post
    from ingest.errors import Retryable

    until = None if for_s is None else time.monotonic() + for_s
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    def handle(new: pl.DataFrame) -> None:
        for bucket, *rest in _shown(new).iter_rows():
            click.echo("  ".join([ist(bucket), *("-" if one is None else str(one) for one in rest)]))
        if log_file is None:
            log_signals(new)
        else:
            append_to_log(log_file, new)
        if webhook is not None:
            post(webhook, new)

    def is_over() -> bool:
        return stopped.is_set() or (until is not None and time.monotonic() >= until)

    while not is_over():
        try:
            follow(database, scope, handle, is_over)
        except Retryable as exc:
            click.echo(f"{exc}: trying again in {RETRY_S:g} s", err=True)
            stopped.wait(RETRY_S)


def _shown(found: pl.DataFrame) -> pl.DataFrame:
    """Return the printed columns of signals."""
    import polars as pl

    return found.select(
        "bucket",
        pl.coalesce("trading_symbol", "instrument_key").alias("instrument"),
        "direction",
        pl.col("confidence").round(2),
        "severity",
        pl.col("members").list.len().fill_null(0),
        "close",
        "reasons",
    )


for _command in (evaluate_command, fit_command, label_command, report_command):
    command.add_command(_command)
