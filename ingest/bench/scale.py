"""Measure what a tick costs as the market, the history in the database, the frames and the day grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

from ingest.bench.figures import Row, Spread
from ingest.bench.ingest import IngestRun, ingest_once, warm
from ingest.bench.market import OPENS, ZONE, make_market
from ingest.bench.processes import Bench, Say
from ingest.database.settings import Engine

INSTRUMENTS, FRAME_TICKS = 1_000, 3  # unless they are what grows; the recorded session has 3.3 ticks a frame
MINUTES_OF_A_DAY, EVERY_MINUTES = 375, 15  # of history: a tick of each instrument in so many minutes
DAY_TICKS = 500_000  # of one day of the memory's market, which takes half a minute to make


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a market, and what the database has already."""

    what: str
    value: int
    instruments: int = INSTRUMENTS
    frame_ticks: int = FRAME_TICKS
    history_days: int = 0


CASES = (
    *(Case("instruments", count, instruments=count) for count in (100, 1_000, 5_000)),
    *(Case("days of history", days, history_days=days) for days in (1, 30)),
    *(Case("ticks a frame", size, frame_ticks=size) for size in (1, 3, 10)),
)


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """Figures of one engine in one case; CPU is seconds per million ticks."""

    engine: str
    what: str
    value: int
    ticks: int
    runs: int
    ingest_per_s: Spread
    ingester_cpu_s: Spread
    server_cpu_s: Spread

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """Resident size of the ingester while it ingests many ticks, MiB."""

    engine: str
    ticks: int
    days: int  # of the market
    tenth_mb: float  # after a tenth of the ticks
    end_mb: float
    largest_mb: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def bench_scale(
    engines: Sequence[Engine], folder: Path, *, ticks: int, runs: int, say: Say, cases: Sequence[Case] = CASES
) -> Iterator[ScaleResult]:
    """Measure engines in each case.

    Parameters
    ----------
    engines
        The engines, each in an embedded server of its own, a new one in each run.
    folder
        For the recordings of the markets.
    ticks, runs
        Of each case.
    say
        Called with each step, as a line of text.
    cases
        What to measure.

    Raises
    ------
    TicklineError
        If the ingester stops or does not finish in time.
    """
    recording = folder / "bench.frames.gz"
    for case in cases:
        say(f"{case.what} {case.value:,}: making the market")
        market = make_market(recording, ticks=ticks, instruments=case.instruments, frame_ticks=[case.frame_ticks])
        for engine in engines:
            done: list[IngestRun] = []
            for run in range(1, runs + 1):
                say(f"{case.what} {case.value:,}: {engine} {run}/{runs}")
                with Bench.of(engine, market) as bench:
                    fill_history(bench, case.history_days)
                    warm(bench)
                    done.append(ingest_once(bench))
            yield ScaleResult(
                engine,
                case.what,
                case.value,
                market.ticks,
                runs,
                Spread.of(one.ingest_per_s for one in done),
                Spread.of(one.ingester_cpu_s for one in done),
                Spread.of(one.server_cpu_s for one in done),
            )


def bench_memory(engines: Sequence[Engine], folder: Path, *, ticks: int, say: Say) -> Iterator[MemoryResult]:
    """Measure the ingester's memory over many ticks: the same made-up day again and again, each a day later.

    Parameters and errors are those of `bench_scale`.
    """
    days = max(1, round(ticks / DAY_TICKS))
    say("memory: making the market")
    market = make_market(
        folder / "memory.frames.gz", ticks=ticks // days, instruments=INSTRUMENTS, frame_ticks=[FRAME_TICKS]
    )
    for engine in engines:
        say(f"memory: {engine}: {market.ticks * days:,} ticks")
        with Bench.of(engine, market) as bench:
            run = ingest_once(bench, days=days)
        yield MemoryResult(engine, market.ticks * days, days, run.memory_tenth_mb, run.memory_end_mb, run.memory_mb)


def fill_history(bench: Bench, days: int) -> None:
    """Fill the days before the market's with ticks of all its instruments and with bars; compress what can be."""
    if not days:
        return
    last = OPENS.date() - timedelta(days=1)
    with bench.database.connect_as_owner(autocommit=True) as connection:
        for number in range(days):
            opens = datetime.combine(last - timedelta(days=number), OPENS.time(), ZONE)
            connection.execute("select tickline.ensure_partitions(%s, %s)", (opens, opens))
            connection.execute(
                "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) "
                "select at, instrument_id, -1, true, 100 + random(), 10 * n + 10, 10, 5000, at "
                "from generate_series(0, %(last)s, %(step)s) as n "
                "cross join lateral (select %(opens)s + n * interval '1 minute' as at) as moments "
                "cross join instruments",
                {"last": MINUTES_OF_A_DAY - 1, "step": EVERY_MINUTES, "opens": opens},
            )
        first = datetime.combine(last - timedelta(days=days), time(), ZONE)
        connection.execute("call tickline.refresh_bars(%s, %s)", (first, datetime.combine(OPENS.date(), time(), ZONE)))
        if bench.engine == "timescale":
            for (chunk,) in connection.execute("select show_chunks('ticks')::text").fetchall():
                connection.execute("call convert_to_columnstore(%s::regclass)", (chunk,))
        connection.execute("vacuum analyze")
    bench.checkpoint()


def rows_of(results: Sequence[ScaleResult]) -> list[Row]:
    """Return the table of costs."""
    return [
        {
            "engine": one.engine,
            "what grows": one.what,
            "to": f"{one.value:,}",
            "ticks": f"{one.ticks:,}",
            "runs": str(one.runs),
            "ingest, ticks/s": one.ingest_per_s.text(),
            "ingester, CPU s/M": one.ingester_cpu_s.text(2),
            "server, CPU s/M": one.server_cpu_s.text(2),
        }
        for one in results
    ]


def memory_rows_of(results: Sequence[MemoryResult]) -> list[Row]:
    """Return the table of memory."""
    return [
        {
            "engine": one.engine,
            "ticks": f"{one.ticks:,}",
            "days": str(one.days),
            "after a tenth, MB": f"{one.tenth_mb:.0f}",
            "at the end, MB": f"{one.end_mb:.0f}",
            "largest, MB": f"{one.largest_mb:.0f}",
        }
        for one in results
    ]
