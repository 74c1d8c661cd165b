"""`tickline bench`: measure how fast this machine ingests, next to references from the same run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from ingest.database.settings import Engine

if TYPE_CHECKING:
    from ingest.bench.reports import Report

ENGINES: tuple[Engine, ...] = get_args(Engine)
# As `ingest.bench.peers` has them: its libraries are an extra, and slow to import.
PEERS = ("sdk executemany", "orm", "write_row", "asyncpg", "adbc")
RATE_MIN, RATE_MAX = 100, 200_000  # ticks per second
Decorator = Callable[[Callable[..., None]], Callable[..., None]]

engine_option: Decorator = click.option(
    "--engine", "engines", type=click.Choice(ENGINES), multiple=True, help="Measure only this engine.  [default: both]"
)
format_option: Decorator = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
runs_option: Decorator = click.option(
    "--runs", type=click.IntRange(1, 100), default=1, show_default=True, help="How often; shows median and range."
)


@click.group("bench")
def command() -> None:
    """Measure how fast this machine ingests, next to references from the same run."""


@command.command("ingest")
@click.option("--ticks", type=click.IntRange(min=1000), default=300_000, show_default=True, help="Ticks to ingest.")
@click.option(
    "--instruments", type=click.IntRange(1, 5000), default=500, show_default=True, help="Instruments in the market."
)
@click.option(
    "--ticks-per-frame", type=click.IntRange(1, 500), default=10, show_default=True, help="Ticks in each frame."
)
@runs_option
@click.option("--peers", "all_peers", is_flag=True, help="Measure all peers too.")
@click.option("--peer", "peers", type=click.Choice(PEERS), multiple=True, help="Measure this peer too.")
@click.option(
    "--peer-seconds", type=click.FloatRange(min=0, min_open=True), default=10.0, show_default=True,
    help="A peer stops after this time.",
)  # fmt: skip
@engine_option
@format_option
def ingest(
    *, ticks: int, instruments: int, ticks_per_frame: int, runs: int, all_peers: bool, peers: tuple[str, ...],
    peer_seconds: float, engines: tuple[Engine, ...], form: str,
) -> None:  # fmt: skip
    """Measure ticks per second from the socket to committed rows.

    A made-up market and the ingester run as separate processes; the market sends as fast as the ingester reads. The
    reference is a binary COPY of the same rows, already encoded, into the same table. Peers decode the same frames,
    from memory, and insert all their fields as other libraries do. CPU is in seconds per million ticks.
    """
    from ingest.bench.reports import ingest_report

    engines, peers = engines or ENGINES, tuple(PEERS) if all_peers else peers
    with _said(1 + len(engines) * runs * (1 + len(peers))) as say:
        report = ingest_report(
            engines,
            ticks=ticks,
            instruments=instruments,
            ticks_per_frame=ticks_per_frame,
            runs=runs,
            peers=peers,
            peer_s_max=peer_seconds,
            say=say,
        )
    _show(form, report)


def _rates(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    try:
        rates = [int(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(RATE_MIN <= rate <= RATE_MAX for rate in rates):
        raise click.BadParameter(f"{text!r} is not a list of rates from {RATE_MIN} to {RATE_MAX}: write 1000,10000")
    return rates


@command.command("latency")
@click.option(
    "--rates",
    callback=_rates,
    default="1000,10000,50000",
    show_default=True,
    metavar="RATE,...",
    help="Ticks per second, one after the other.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=20.0,
    show_default=True,
    help="How long to measure at each rate.",
)
@click.option(
    "--warm-up",
    type=click.FloatRange(0, 60),
    default=3.0,
    show_default=True,
    help="Seconds before, which are not counted.",
)
@click.option(
    "--instruments", type=click.IntRange(20, 5000), default=156, show_default=True, help="Instruments in the market."
)
@engine_option
@format_option
def latency(
    *, rates: list[int], seconds: float, warm_up: float, instruments: int, engines: tuple[Engine, ...], form: str
) -> None:
    """Measure the time from the moment a frame is due to its commit, and to a handler.

    A sender sends frames at fixed times, however slowly they are received; each rate runs once for the commits and
    once with a handler. The times of commits are the server's, before it flushes its log.
    """
    from ingest.bench.reports import latency_report

    engines = engines or ENGINES
    with _said(len(rates) * (1 + 2 * len(engines))) as say:
        report = latency_report(
            engines, rates=rates, seconds=seconds, warm_up_s=warm_up, instruments=instruments, say=say
        )
    _show(form, report)


@command.command("scale")
@click.option("--ticks", type=click.IntRange(min=1000), default=300_000, show_default=True, help="Ticks of each case.")
@click.option(
    "--memory-ticks",
    type=click.IntRange(min=0),
    default=10_000_000,
    show_default=True,
    help="Ticks while memory is measured; 0: not at all.",
)
@runs_option
@engine_option
@format_option
def scale(*, ticks: int, memory_ticks: int, runs: int, engines: tuple[Engine, ...], form: str) -> None:
    """Measure what a tick costs as the market, the history or the frames grow, and the ingester's memory.

    Cases: 100 to 5,000 instruments, 1 and 30 days of history, 1 to 10 ticks a frame; otherwise 1,000 instruments,
    no history and 3 ticks a frame. CPU is in seconds per million ticks.
    """
    from ingest.bench.reports import scale_report
    from ingest.bench.scale import CASES

    engines = engines or ENGINES
    memory_steps = 1 + len(engines) if memory_ticks else 0
    with _said(len(CASES) * (1 + len(engines) * runs) + memory_steps) as say:
        report = scale_report(engines, ticks=ticks, memory_ticks=memory_ticks, runs=runs, say=say)
    _show(form, report)


@command.command("journal")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@format_option
def journal(recording: Path, form: str) -> None:
    """Measure the journal's cost and its share of ingestion.

    Uses the frames of RECORDING.
    """
    from ingest.bench.journal import bench_journal

    with _said(None) as say:
        results, share = bench_journal(recording, say=say)
    if form == "json":
        click.echo(json.dumps({"append": [asdict(result) for result in results], "share": share.as_dict()}, indent=2))
        return
    click.echo(f"{'fsync':<14} {'frames':>8} {'µs/frame':>9} {'MB/s':>8}")
    for result in results:
        rate = result.bytes_per_s / 1e6
        click.echo(f"{result.fsync:<14} {result.frames:>8,} {result.us_per_frame:>9.1f} {rate:>8.1f}")
    click.echo(
        f"journal {share.write_s + share.read_s:.2f} s of {share.write_s + share.read_s + share.rest_s:.2f} s: "
        f"{share.share:.1%} of the time from frame to committed row"
    )


@contextmanager
def _said(steps: int | None) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints each step; on a terminal also how many of the steps are done, and the time left."""
    from ingest.terminal import progress_bar

    with progress_bar() as bar:
        done = 0

        def say(text: str) -> None:
            nonlocal done
            bar("")
            click.echo(text, err=True)
            bar("measuring", done, steps)
            done += 1

        yield say


def _show(form: str, report: Report) -> None:
    """Print a report as JSON or as tables; a table without rows is left out."""
    from ingest.bench.figures import columns_of
    from ingest.terminal import print_table

    if form == "json":
        click.echo(json.dumps(report.results, indent=2))
        return
    for number, rows in enumerate(rows for rows in report.tables if rows):
        if number:
            click.echo()
        columns = columns_of(rows)
        print_table(columns, [all(cell[:1].isdecimal() or not cell for cell in one[1:]) for one in columns], sys.stdout)
