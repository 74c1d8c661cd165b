"""The whole measurements, as `tickline bench` and the tables of the documents show them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ingest.bench.figures import Row
from ingest.bench.processes import Say, measurable
from ingest.database.settings import Engine

# The libraries of `latency` and `peers` are an extra: they are imported when they are needed.


class Report(NamedTuple):
    """Results as plain values, and as tables."""

    results: Any
    tables: list[list[Row]]


def ingest_report(
    engines: Sequence[Engine], *, ticks: int, instruments: int, ticks_per_frame: int, runs: int,
    peers: Sequence[str], peer_s_max: float, say: Say,
) -> Report:  # fmt: skip
    """Measure ingestion; parameters as of `bench_ingest`, `peers` by their names in `peers.PEERS`.

    Raises
    ------
    ConfigError
        If a library of the peers is not installed.
    TicklineError
        If the ingester stops or does not finish in time.
    """
    from ingest.bench.ingest import bench_ingest, peer_rows_of, rows_of  # noqa: PLC0415
    from ingest.bench.market import make_market  # noqa: PLC0415

    known = _peers() if peers else {}
    with tempfile.TemporaryDirectory(prefix="tickline-") as folder:
        say("making the market")
        recording = Path(folder) / "bench.frames.gz"
        market = make_market(recording, ticks=ticks, instruments=instruments, frame_ticks=[ticks_per_frame])
        results = [
            bench_ingest(
                engine, market, runs=runs, peers=[known[name] for name in peers], peer_s_max=peer_s_max, say=say
            )
            for engine in measurable(engines, say)
        ]
    return Report([result.as_dict() for result in results], [rows_of(results), peer_rows_of(results)])


def latency_report(
    engines: Sequence[Engine], *, rates: Sequence[int], seconds: float, warm_up_s: float, instruments: int, say: Say
) -> Report:
    """Measure latencies at each rate; parameters as of `bench_latency`, errors as of `ingest_report`."""
    from ingest.bench.latency import bench_latency, load_rows_of, make_paced_market, rows_of  # noqa: PLC0415

    results = []
    for rate in rates:
        with tempfile.TemporaryDirectory(prefix="tickline-") as folder:
            say(f"making a market for {rate:,} ticks a second")
            recording = Path(folder) / "bench.frames.gz"
            market = make_paced_market(recording, rate=rate, seconds=warm_up_s + seconds, instruments=instruments)
            results += [
                bench_latency(engine, market, rate=rate, warm_up_s=warm_up_s, say=say)
                for engine in measurable(engines, say)
            ]
    return Report([result.as_dict() for result in results], [rows_of(results), load_rows_of(results)])


def scale_report(engines: Sequence[Engine], *, ticks: int, memory_ticks: int, runs: int, say: Say) -> Report:
    """Measure what grows; parameters as of `bench_scale` and `bench_memory`, errors as of `ingest_report`."""
    from ingest.bench.scale import bench_memory, bench_scale, memory_rows_of, rows_of  # noqa: PLC0415

    found = measurable(engines, say)
    with tempfile.TemporaryDirectory(prefix="tickline-") as name:
        costs = list(bench_scale(found, Path(name), ticks=ticks, runs=runs, say=say))
        memory = list(bench_memory(found, Path(name), ticks=memory_ticks, say=say)) if memory_ticks else []
    parts = {"cost": [one.as_dict() for one in costs], "memory": [one.as_dict() for one in memory]}
    return Report(parts, [rows_of(costs), memory_rows_of(memory)])


def _peers() -> dict[str, Any]:
    from ingest.bench.peers import PEERS  # noqa: PLC0415

    return dict(PEERS)
