"""`tickline bench`: measure how fast this machine ingests, next to a reference from the same run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click

from ingest.database.settings import Engine

ENGINES: tuple[Engine, ...] = get_args(Engine)


@click.group("bench")
def command() -> None:
    """Measure how fast this machine ingests, next to a reference from the same run."""


@command.command("ingest")
@click.option("--ticks", type=click.IntRange(min=1000), default=300_000, show_default=True, help="Ticks to ingest.")
@click.option(
    "--instruments", type=click.IntRange(1, 5000), default=500, show_default=True, help="Instruments in the market."
)
@click.option(
    "--engine", "engines", type=click.Choice(ENGINES), multiple=True, help="Measure only this engine.  [default: both]"
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def ingest(ticks: int, instruments: int, engines: tuple[Engine, ...], form: str) -> None:
    """Measure ticks per second from the socket to committed rows.

    A made-up market and the ingester run as separate processes; the market sends as fast as the ingester reads. The
    reference is a binary COPY of the same rows, already encoded, into the same table.
    """
    from ingest.bench.ingest import bench_ingest

    results = [
        result
        for engine in engines or ENGINES
        if (
            result := bench_ingest(
                engine, ticks=ticks, instruments=instruments, say=lambda text: click.echo(text, err=True)
            )
        )
    ]
    if form == "json":
        click.echo(json.dumps([result.as_dict() for result in results], indent=2))
        return
    click.echo(f"{'engine':<10} {'ticks':>9} {'ingest/s':>10} {'copy/s':>10} {'ratio':>6} {'memory MB':>10}")
    for result in results:
        click.echo(
            f"{result.engine:<10} {result.ticks:>9,} {result.ingest_per_s:>10,.0f} {result.copy_per_s:>10,.0f} "
            f"{result.ratio:>6.2f} {result.memory_mb:>10.0f}"
        )


@command.command("journal")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def journal(recording: Path, form: str) -> None:
    """Measure the journal's cost and its share of ingestion.

    Uses the frames of RECORDING.
    """
    from ingest.bench.journal import bench_journal

    results, share = bench_journal(recording, say=lambda text: click.echo(text, err=True))
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
