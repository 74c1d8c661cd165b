"""Measure ingestion: run the real commands as processes and time them from outside.

Owns the measured figures and their reference. Uses only the ingester's command line and tables, so that it measures
what users run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from ingest.bench.figures import Row, Spread
from ingest.bench.market import BenchMarket
from ingest.bench.processes import Bench, Feed, Ingester, Say
from ingest.database.settings import Engine
from ingest.decode.frames import DECODER

if TYPE_CHECKING:
    from ingest.bench.peers import Peer, PeerRun

COPY_BYTES = 256 * 2**10
COPIES = 3  # of the reference in each run: one takes only a second or two, so single ones scatter
WARM_ROWS_PER_TICK = 2  # of 250 bytes: more log than any measured phase writes
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class IngestRun:
    """One ingestion. CPU in seconds per million ticks, resident sizes of the ingester in MiB."""

    ingest_per_s: float  # from the first received frame to the last commit
    ingester_cpu_s: float
    server_cpu_s: float
    memory_mb: float  # largest
    memory_tenth_mb: float  # after a tenth of the ticks
    memory_end_mb: float


@dataclass(frozen=True, slots=True)
class PeerResult:
    """Another way of doing the same; rates from the first frame in memory to the last commit."""

    name: str
    decoder: str
    ticks: int  # fewest of a run: each run has a time limit
    per_s: Spread
    client_cpu_s: Spread  # per million ticks
    server_cpu_s: Spread
    ratio: float  # our median rate, from the socket, divided by its


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Result of `bench_ingest`; rates are ticks per second, CPU is seconds per million ticks."""

    engine: str
    decoder: str
    ticks: int
    ticks_per_frame: float
    runs: int
    ingest_per_s: Spread
    copy_per_s: Spread
    ingester_cpu_s: Spread
    server_cpu_s: Spread
    memory_mb: Spread
    peers: list[PeerResult] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median ingest rate divided by the median reference rate."""
        return self.ingest_per_s.median / self.copy_per_s.median

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"ratio": self.ratio}


def bench_ingest(
    engine: Engine, market: BenchMarket, *, runs: int, peers: Sequence[Peer] = (), peer_s_max: float, say: Say
) -> IngestResult:
    """Measure one engine.

    Parameters
    ----------
    engine
        The engine to measure, in an embedded server of its own, a new one in each run.
    market
        What to ingest.
    runs
        How often.
    peers
        Other ways to do the same, measured after each run in the same server.
    peer_s_max
        Seconds after which a peer stops.
    say
        Called with each step, as a line of text.

    Raises
    ------
    TicklineError
        If the ingester stops or does not finish in time.
    """
    done: list[IngestRun] = []
    copies: list[float] = []
    others: dict[Peer, list[PeerRun]] = {peer: [] for peer in peers}
    for run in range(1, runs + 1):
        with Bench.of(engine, market) as bench:
            say(f"{engine} {run}/{runs}: ingesting {market.ticks:,} ticks of {len(market.keys)} instruments")
            warm(bench)
            done.append(ingest_once(bench))
            copies += [market.ticks / seconds for seconds in _time_copies(bench)]
            for peer, found in others.items():
                say(f"{engine} {run}/{runs}: {peer.name}")
                bench.checkpoint()
                found.append(peer.run(bench, peer_s_max))
    rate = Spread.of(one.ingest_per_s for one in done)
    return IngestResult(
        engine,
        DECODER,
        market.ticks,
        market.ticks_per_frame,
        runs,
        rate,
        Spread.of(copies),
        Spread.of(one.ingester_cpu_s for one in done),
        Spread.of(one.server_cpu_s for one in done),
        Spread.of(one.memory_mb for one in done),
        [_peer_result(peer, found, rate.median) for peer, found in others.items()],
    )


def _peer_result(peer: Peer, found: list[PeerRun], our_rate: float) -> PeerResult:
    per_s = Spread.of(one.ticks / one.seconds for one in found)
    return PeerResult(
        peer.name,
        peer.decoder,
        min(one.ticks for one in found),
        per_s,
        Spread.of(one.client_cpu_s / one.ticks * MILLION for one in found),
        Spread.of(one.server_cpu_s / one.ticks * MILLION for one in found),
        our_rate / per_s.median,
    )


def warm(bench: Bench) -> None:
    """Write log and recycle its files, so that no measured phase pays for making new ones."""
    with bench.database.connect_as_owner(autocommit=True) as connection:
        connection.execute("create table bench_warm (filler text)")
        connection.execute(
            "insert into bench_warm select repeat('x', 250) from generate_series(1, %s)",
            (bench.market.ticks * WARM_ROWS_PER_TICK,),
        )
        connection.execute("drop table bench_warm")
    bench.checkpoint()


def ingest_once(bench: Bench, *, days: int = 1) -> IngestRun:
    """Ingest a market once, or on several days in turn.

    Raises
    ------
    TicklineError
        If the ingester stops or does not finish in time.
    """
    ticks = bench.market.ticks * days
    memory: list[tuple[int, float]] = []
    with (
        Feed(bench.market, days=days) as feed,
        Ingester(bench, feed.next()["url"]) as ingester,
        bench.database.connect(autocommit=True) as connection,
    ):
        began_ns = feed.next(ingester)["began_ns"]
        ingester_s, server_s = ingester.cpu_s(), bench.server_cpu_s()
        ingester.wait(connection, ticks, lambda committed: memory.append((committed, ingester.memory_mb())))
        ended = time.time()
        ingester_s, server_s = ingester.cpu_s() - ingester_s, bench.server_cpu_s() - server_s
        row = connection.execute(
            "select extract(epoch from min(received_at)) from ticks where received_at >= to_timestamp(%s)",
            (began_ns / 1e9,),
        ).fetchone()
        assert row is not None
        seconds = ended - float(row[0])
    return IngestRun(
        ticks / seconds,
        ingester_s / ticks * MILLION,
        server_s / ticks * MILLION,
        max(size for _, size in memory),
        next(size for committed, size in memory if committed >= ticks / 10),
        memory[-1][1],
    )


def _time_copies(bench: Bench) -> Iterator[float]:
    """Yield the seconds of each binary COPY of all ticks, already encoded, into the emptied table."""
    with bench.database.connect_as_owner(autocommit=True) as connection:
        connection.execute("set synchronous_commit = on")  # as the writer does
        with connection.cursor().copy("copy (select * from ticks) to stdout (format binary)") as copy:
            encoded = b"".join(bytes(part) for part in copy)
        for _ in range(COPIES):
            connection.execute("truncate ticks")
            bench.checkpoint()
            yield _copy(connection, encoded)


def _copy(connection: psycopg.Connection[Any], encoded: bytes) -> float:
    began = time.perf_counter()
    with connection.cursor().copy("copy ticks from stdin (format binary)") as copy:
        for start in range(0, len(encoded), COPY_BYTES):
            copy.write(encoded[start : start + COPY_BYTES])
    return time.perf_counter() - began


def rows_of(results: Sequence[IngestResult]) -> list[Row]:
    """Return the table of our own figures."""
    return [
        {
            "engine": one.engine,
            "decoder": one.decoder,
            "ticks": f"{one.ticks:,}",
            "ticks a frame": f"{one.ticks_per_frame:.1f}",
            "runs": str(one.runs),
            "ingest, ticks/s": one.ingest_per_s.text(),
            "COPY, ticks/s": one.copy_per_s.text(),
            "ratio": f"{one.ratio:.2f}",
            "ingester, CPU s/M": one.ingester_cpu_s.text(2),
            "server, CPU s/M": one.server_cpu_s.text(2),
            "memory, MB": one.memory_mb.text(),
        }
        for one in results
    ]


def peer_rows_of(results: Sequence[IngestResult]) -> list[Row]:
    """Return the table of the peers; ours is first, for each engine."""
    return [
        row for one in results if one.peers for row in (_our_row(one), *(_peer_row(one, peer) for peer in one.peers))
    ]


def _our_row(ours: IngestResult) -> Row:
    return {
        "engine": ours.engine,
        "way": "tickline, socket to commit",
        "decoder": f"tickline, {ours.decoder}",
        "ticks": f"{ours.ticks:,}",
        "ticks/s": ours.ingest_per_s.text(),
        "client, CPU s/M": ours.ingester_cpu_s.text(1),
        "server, CPU s/M": ours.server_cpu_s.text(1),
        "tickline / this": "",
    }


def _peer_row(ours: IngestResult, peer: PeerResult) -> Row:
    return {
        "engine": ours.engine,
        "way": peer.name,
        "decoder": peer.decoder,
        "ticks": f"{peer.ticks:,}",
        "ticks/s": peer.per_s.text(),
        "client, CPU s/M": peer.client_cpu_s.text(1),
        "server, CPU s/M": peer.server_cpu_s.text(1),
        "tickline / this": f"{peer.ratio:.2f}",
    }
