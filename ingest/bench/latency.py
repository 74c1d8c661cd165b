"""Measure latency at fixed rates, open loop: each frame has a time at which it is due, whatever the receiver does.

Latency counts from the time at which a frame was due, not from when it was sent, so that a sender or a receiver that
stalls cannot hide what it delays (no coordinated omission). All clocks are the machine's own, read by the sender, the
ingester and the server. The time of a commit is the server's (`track_commit_timestamp`), taken just before it flushes
the commit to disk; the mean time of such a flush is a figure of its own.

Handlers are measured in a run of their own, because they share the ingester's core. Importing this module raises
ConfigError if the extra `bench` is not installed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import psycopg
from numpy.typing import NDArray

from ingest.bench.figures import Row
from ingest.bench.ingest import warm
from ingest.bench.market import ZONE, BenchMarket, make_market
from ingest.bench.processes import Bench, Feed, Ingester, Say
from ingest.database.settings import Engine
from ingest.errors import ConfigError, TicklineError

try:
    from hdrh.histogram import HdrHistogram
except ModuleNotFoundError as exc:
    raise ConfigError(
        "latencies need the library 'hdrhistogram', which is not installed: run `pip install 'tickline[bench]'`"
    ) from exc

SERVER = {"track_commit_timestamp": "on", "track_wal_io_timing": "on"}
HANDLER = "ingest.bench.heard:on_tick"
# Ticks of frames as of the real feed: 3.3 on average over a session, more when it is busy.
QUIET_FRAMES, BUSY_FRAMES, BUSY_RATE = (1, 2, 3, 4), (10,), 10_000
HELD = 0.99  # of the rate, below which the sender could not hold it
LATENCY_US_MAX = 3_600_000_000
QUIET_S = 1.0  # a handler that notes nothing for so long has heard everything

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of all counted ticks, milliseconds."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    mean_ms: float
    max_ms: float

    @classmethod
    def of(cls, latency_us: Integers, ticks: Integers) -> Self:
        """Return the figures of latencies, each of so many ticks."""
        histogram = HdrHistogram(1, LATENCY_US_MAX, 3)
        values, place = np.unique(np.maximum(latency_us, 1), return_inverse=True)
        for value, count in zip(values.tolist(), np.bincount(place, weights=ticks).tolist(), strict=True):
            histogram.record_value(value, int(count))
        p50, p99, p999 = (histogram.get_value_at_percentile(share) / 1000 for share in (50, 99, 99.9))
        return cls(p50, p99, p999, histogram.get_mean_value() / 1000, histogram.get_max_value() / 1000)


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Figures of one engine at one rate. CPU is in percent of one core, while the counted ticks were sent."""

    engine: str
    rate: int  # ticks per second
    seconds: float  # counted
    instruments: int
    ticks_per_frame: float
    sent: int  # ticks, with those of the warm-up
    sent_per_s: float
    late_ms_max: float  # of the latest frame: by how much the sender was behind its own times
    committed: int  # ticks
    heard: int  # ticks that reached the handler
    due_to_commit: Latency
    received_to_commit: Latency
    due_to_handler: Latency
    flush_ms: float  # mean time of a flush of the server's log
    ingester_cpu_percent: float
    server_cpu_percent: float
    ingester_with_handler_cpu_percent: float
    memory_mb: float  # resident size of the ingester at the end

    @property
    def held(self) -> bool:
        """Whether the sender held the rate."""
        return self.sent_per_s >= HELD * self.rate

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"held": self.held}


class _Run(NamedTuple):
    """What one run has shown; arrays have an element for each frame, in order of sending."""

    due_ns: Integers
    ended_ns: int
    late_ns_max: int
    seq: Integers
    ticks: Integers
    received_us: Integers
    committed_us: Integers
    heard: Integers  # shape (ticks, 2): seq, epoch nanoseconds
    flush_ms: float
    ingester_cpu_percent: float
    server_cpu_percent: float
    memory_mb: float


def make_paced_market(recording: Path, *, rate: int, seconds: float, instruments: int) -> BenchMarket:
    """Write the market for `bench_latency`, for so many seconds with its warm-up: a session that opens now."""
    return make_market(
        recording,
        ticks=round(rate * seconds),
        instruments=instruments,
        frame_ticks=BUSY_FRAMES if rate >= BUSY_RATE else QUIET_FRAMES,
        rate=rate,
        opens=datetime.now(ZONE).replace(second=0, microsecond=0),
    )


def bench_latency(engine: Engine, market: BenchMarket, *, rate: int, warm_up_s: float, say: Say) -> LatencyResult:
    """Measure one engine at one rate.

    Parameters
    ----------
    engine
        The engine to measure, in an embedded server of its own.
    market
        What to send, from `make_paced_market`.
    rate
        Ticks per second.
    warm_up_s
        Seconds at the start that are not counted.
    say
        Called with each step, as a line of text.

    Raises
    ------
    TicklineError
        If the ingester stops, or does not commit each tick once.
    """
    say(f"{engine}: {market.ticks:,} ticks at {rate:,} a second")
    run = _run(engine, market, rate, warm_up_s, with_handler=False)
    say(f"{engine}: the same with a handler")
    handled = _run(engine, market, rate, warm_up_s, with_handler=True)
    counted = _counted(run.due_ns, warm_up_s)
    ticks = run.ticks[counted]
    frame = np.searchsorted(handled.seq, handled.heard[:, 0])
    heard = np.flatnonzero(_counted(handled.due_ns, warm_up_s)[frame])
    seconds = (run.ended_ns - int(run.due_ns[0]) + _interval_ns(market, rate)) / 1e9
    result = LatencyResult(
        engine=engine,
        rate=rate,
        seconds=market.ticks / rate - warm_up_s,
        instruments=len(market.keys),
        ticks_per_frame=market.ticks_per_frame,
        sent=market.ticks,
        sent_per_s=market.ticks / seconds,
        late_ms_max=run.late_ns_max / 1e6,
        committed=int(run.ticks.sum()),
        heard=len(handled.heard),
        due_to_commit=Latency.of(run.committed_us[counted] - run.due_ns[counted] // 1000, ticks),
        received_to_commit=Latency.of(run.committed_us[counted] - run.received_us[counted], ticks),
        due_to_handler=Latency.of(
            (handled.heard[heard, 1] - handled.due_ns[frame[heard]]) // 1000, np.ones(len(heard), np.int64)
        ),
        flush_ms=run.flush_ms,
        ingester_cpu_percent=run.ingester_cpu_percent,
        server_cpu_percent=run.server_cpu_percent,
        ingester_with_handler_cpu_percent=handled.ingester_cpu_percent,
        memory_mb=run.memory_mb,
    )
    if not result.held:
        say(f"{engine}: the sender reached {result.sent_per_s:,.0f} ticks a second only")
    return result


def _counted(due_ns: Integers, warm_up_s: float) -> NDArray[np.bool_]:
    return np.asarray(due_ns >= due_ns[0] + warm_up_s * 1e9)


def _interval_ns(market: BenchMarket, rate: int) -> float:
    return market.ticks_per_frame / rate * 1e9


def _run(engine: Engine, market: BenchMarket, rate: int, warm_up_s: float, *, with_handler: bool) -> _Run:
    """Send the market once at its rate, until everything is committed and heard."""
    interval_ns = _interval_ns(market, rate)
    with Bench.of(engine, market, SERVER) as bench:
        warm(bench)
        notes = bench.home / "bench.heard"
        with bench.superuser() as connection:
            connection.execute("select pg_stat_reset_shared('io')")
        with (
            Feed(market, interval_ns=interval_ns) as feed,
            Ingester(bench, feed.next()["url"], {"TICKLINE_HANDLERS": HANDLER} if with_handler else {}) as ingester,
            bench.database.connect(autocommit=True) as connection,
        ):
            began_ns = feed.next(ingester)["began_ns"]
            time.sleep(max(0.0, began_ns / 1e9 + warm_up_s - time.time()))
            at, ingester_s, server_s = time.monotonic(), ingester.cpu_s(), bench.server_cpu_s()
            ended = feed.next(ingester)
            took = time.monotonic() - at
            ingester_s, server_s = ingester.cpu_s() - ingester_s, bench.server_cpu_s() - server_s
            memory_mb = ingester.memory_mb()
            ingester.wait(connection, market.ticks, lambda _: None)
            if with_handler:
                _wait_until_quiet(notes)
        with bench.superuser() as connection:
            frames, committed_us = _frames_of(connection, market), _committed_us(connection)
            flush = connection.execute(
                "select sum(fsync_time) / sum(fsyncs) from pg_stat_io where object = 'wal' and fsyncs > 0"
            ).fetchone()
        assert flush is not None
        heard = np.fromfile(notes, dtype="<i8").reshape(-1, 2) if with_handler else np.empty((0, 2), np.int64)
    return _Run(
        due_ns=began_ns + np.rint(np.arange(market.frames) * interval_ns).astype(np.int64),
        ended_ns=ended["ended_ns"],
        late_ns_max=ended["late_ns_max"],
        seq=frames[:, 0],
        ticks=frames[:, 1],
        received_us=frames[:, 2],
        committed_us=committed_us[np.searchsorted(committed_us[:, 0], frames[:, 0]), 1],
        heard=heard,
        flush_ms=float(flush[0]),
        ingester_cpu_percent=ingester_s / took * 100,
        server_cpu_percent=server_s / took * 100,
        memory_mb=memory_mb,
    )


def _frames_of(connection: psycopg.Connection[Any], market: BenchMarket) -> Integers:
    """Return seq, number of ticks and time of receipt (epoch microseconds) of each frame, in order of sending.

    Raises
    ------
    TicklineError
        If a tick is missing or there twice; otherwise the n-th number in the table is the n-th frame sent.
    """
    found = connection.execute(
        "select seq, count(*), (extract(epoch from min(received_at)) * 1000000)::int8 from ticks "
        "group by seq order by seq"
    ).fetchall()
    frames = np.array(found, dtype=np.int64).reshape(-1, 3)
    if (len(frames), frames[:, 1].sum()) != (market.frames, market.ticks):
        raise TicklineError(
            f"{market.ticks} ticks in {market.frames} frames were sent, but the database has "
            f"{frames[:, 1].sum()} in {len(frames)}"
        )
    return frames


def _committed_us(connection: psycopg.Connection[Any]) -> Integers:
    """Return the last seq and the time of commit (epoch microseconds) of each batch, in order of seq."""
    found = connection.execute(  # a ledger row has only the time of its newest batch
        "select max(seq), (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::int8 "
        "from ticks group by xmin order by 1"
    ).fetchall()
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _wait_until_quiet(notes: Path) -> None:
    """Wait until a handler has written nothing for a while."""
    size, changed_at = -1, time.monotonic()
    while time.monotonic() < changed_at + QUIET_S:
        if notes.stat().st_size != size:
            size, changed_at = notes.stat().st_size, time.monotonic()
        time.sleep(QUIET_S / 10)


def rows_of(results: Sequence[LatencyResult]) -> list[Row]:
    """Return the table of latencies, milliseconds."""
    return [
        {
            "engine": one.engine,
            "ticks/s": f"{one.rate:,}",
            "from → to": way,
            "p50 ms": f"{latency.p50_ms:.1f}",
            "p99 ms": f"{latency.p99_ms:.1f}",
            "p99.9 ms": f"{latency.p999_ms:.1f}",
            "mean ms": f"{latency.mean_ms:.1f}",
            "max ms": f"{latency.max_ms:.1f}",
        }
        for one in results
        for way, latency in (
            ("due → committed", one.due_to_commit),
            ("received → committed", one.received_to_commit),
            ("due → handler", one.due_to_handler),
        )
    ]


def load_rows_of(results: Sequence[LatencyResult]) -> list[Row]:
    """Return the table of what the machine did meanwhile."""
    return [
        {
            "engine": one.engine,
            "ticks/s": f"{one.rate:,}",
            "sent, ticks/s": f"{one.sent_per_s:,.0f}{'' if one.held else ' (rate not held)'}",
            "ticks a frame": f"{one.ticks_per_frame:.1f}",
            "latest send, ms": f"{one.late_ms_max:.1f}",
            "sent": f"{one.sent:,}",
            "committed": f"{one.committed:,}",
            "heard": f"{one.heard:,}",
            "flush, ms": f"{one.flush_ms:.2f}",
            "ingester, CPU %": f"{one.ingester_cpu_percent:.0f}",
            "with handler": f"{one.ingester_with_handler_cpu_percent:.0f}",
            "server, CPU %": f"{one.server_cpu_percent:.0f}",
            "memory, MB": f"{one.memory_mb:.0f}",
        }
        for one in results
    ]
