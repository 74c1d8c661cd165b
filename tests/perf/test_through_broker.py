"""Collector, broker, writer and server at a fixed rate: latency from receipt to commit, backlog, CPU of each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ingest.bench.latency import SERVER, Latency, _committed_us, _frames_of, make_paced_market
from ingest.bench.processes import Bench, Feed, _free_port
from tests.broker import Broker, needs_broker
from tests.fault.harness import RecordProperty, wait_until

SECONDS, WARM_UP_S, INSTRUMENTS = 30.0, 5.0, 1_000
AWAY_S = 20.0  # of a writer
BACKLOG_S_MAX = 2.0  # from the last frame sent to the last tick committed; a backlog grows with the time
TOKEN = "a-token-of-the-journal"


class Part:
    """A `tickline` command as a process, and the CPU that it has used."""

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKLINE_", "UPSTOX_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ingest.cli", "--log-level", "error", *words],
            env=clean | dict(environment),
            stdout=subprocess.DEVNULL,
        )
        self.watched = psutil.Process(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


class Chain:
    """Feed, collector, broker or none, writer and server at a fixed rate; the feed plays once.

    Attributes
    ----------
    market
        What is sent.
    began_ns, interval_ns
        When the first frame was due, epoch, and the time between two.
    """

    def __init__(
        self, stack: ExitStack, folder: Path, engine: Any, *, rate: int, seconds: float, is_published: bool
    ) -> None:
        self.market = make_paced_market(folder / "market", rate=rate, seconds=seconds, instruments=INSTRUMENTS)
        self.interval_ns = self.market.ticks_per_frame / rate * 1e9
        self.bench = stack.enter_context(Bench.of(engine, self.market, SERVER))
        self.broker = stack.enter_context(Broker(folder / "nats"))
        self.feed = stack.enter_context(Feed(self.market, interval_ns=self.interval_ns))
        url, port, home = self.feed.next()["url"], _free_port(), folder / "collector"
        home.mkdir()
        (home / "journal-token").write_text(TOKEN)
        common = {"TICKLINE_NATS_URL": self.broker.url, "UPSTOX_API_URL": url, "UPSTOX_ASSETS_URL": url}
        common |= {"UPSTOX_ACCESS_TOKEN": "bench", "TICKLINE_COLLECTOR_TOKEN": TOKEN}
        collecting = common | {
            "TICKLINE_HOME": str(home),
            "TICKLINE_JOURNAL_PORT": str(port),
            "TICKLINE_API_PORT": "0",
            "TICKLINE_JOURNAL_FSYNC_MS": "10",
            "TICKLINE_SUBSCRIBE_BATCH_KEYS": str(len(self.market.keys)),
            "TICKLINE_SUBSCRIBE_INTERVAL_MS": "0",
            "TICKLINE_PUBLISH": str(is_published).lower(),
        }
        address = f"http://127.0.0.1:{port}"
        self._source = f"nats:default={address}" if is_published else address
        self._writing = common | {
            "TICKLINE_HOME": str(self.bench.home),
            "TICKLINE_ENGINE": engine,
            "TICKLINE_BACKFILL_S": "0",
        }
        self._stack = stack
        self.writer = self.write()
        self.collector = Part(["collect", *self.market.keys], collecting)
        stack.callback(self.collector.stop)
        self.connection = stack.enter_context(self.bench.database.connect(autocommit=True))
        self.began_ns = int(self.feed.next()["began_ns"])

    def write(self) -> Part:
        """Start a writer."""
        found = Part(["write", self._source], self._writing)
        self._stack.callback(found.stop)
        return found

    def committed(self) -> int:
        """Return the number of ticks in the ledger."""
        ((count,),) = self.connection.execute("select coalesce(sum(ticks), 0) from tickline.ledger").fetchall()
        return int(count)

    def due(self) -> int:
        """Return the number of ticks that should have been sent by now."""
        frames = min((time.time_ns() - self.began_ns) // self.interval_ns, self.market.frames)
        return int(frames * self.market.ticks_per_frame)


@needs_broker
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["postgres", "timescale"])
@pytest.mark.parametrize("through", ["broker", "pull"])
@pytest.mark.parametrize("rate", [10_000, 20_000])
def test_rate_is_held_through_broker_and_pull_without_a_backlog(
    engine: Any, through: str, rate: int, tmp_path: Path, record_property: RecordProperty
) -> None:
    with ExitStack() as stack:
        chain = Chain(stack, tmp_path, engine, rate=rate, seconds=SECONDS, is_published=through == "broker")
        market, bench = chain.market, chain.bench
        time.sleep(max(0.0, chain.began_ns / 1e9 + WARM_UP_S - time.time()))
        parts = {
            "collector": chain.collector.watched,
            "writer": chain.writer.watched,
            "broker": psutil.Process(chain.broker.process.pid),
        }
        before = {name: cpu_s(part) for name, part in parts.items()}
        server_s = bench.server_cpu_s()
        sent = chain.feed.next()
        used = {name: cpu_s(part) - before[name] for name, part in parts.items()}
        used["server"] = bench.server_cpu_s() - server_s
        wait_until(lambda: chain.committed() == market.ticks)
        backlog_s = time.time() - sent["ended_ns"] / 1e9
        with bench.superuser() as superuser:
            frames, committed = _frames_of(superuser, market), _committed_us(superuser)
    due_ns = chain.began_ns + np.rint(np.arange(market.frames) * chain.interval_ns).astype(np.int64)
    counted = due_ns >= due_ns[0] + WARM_UP_S * 1e9
    committed_us = committed[np.searchsorted(committed[:, 0], frames[:, 0]), 1]
    latency = Latency.of(committed_us[counted] - frames[counted, 2], frames[counted, 1])
    million = frames[counted, 1].sum() / 1e6
    record_property("received to committed p50 ms", round(latency.p50_ms, 1))
    record_property("received to committed p99 ms", round(latency.p99_ms, 1))
    record_property("backlog s", round(backlog_s, 2))
    record_property("sender late s", round(sent["late_ns_max"] / 1e9, 2))
    for name, seconds in used.items():
        record_property(f"CPU s per million ticks, {name}", round(seconds / million, 2))
    assert backlog_s < BACKLOG_S_MAX


@needs_broker
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["postgres", "timescale"])
@pytest.mark.parametrize("through", ["broker", "pull"])
def test_backlog_of_a_writer_that_was_away_is_caught_up_at_five_times_the_live_rate(
    engine: Any, through: str, tmp_path: Path, record_property: RecordProperty
) -> None:
    """From the first commit of the writer that follows until it is half a second behind the feed."""
    rate = 10_000
    with ExitStack() as stack:
        chain = Chain(stack, tmp_path, engine, rate=rate, seconds=70.0, is_published=through == "broker")
        wait_until(lambda: chain.committed() > WARM_UP_S * rate)
        chain.writer.process.kill()
        chain.writer.process.wait()
        time.sleep(AWAY_S)
        before = chain.committed()
        began = time.monotonic()
        chain.write()
        wait_until(lambda: chain.committed() > before, every_s=0.01)
        first, at = chain.committed(), time.monotonic()
        wait_until(lambda: chain.committed() >= chain.due() - rate / 2, every_s=0.05)
        seconds, times_live = time.monotonic() - at, (chain.committed() - first) / (time.monotonic() - at) / rate
        record_property("backlog, ticks", chain.due() - before)
        record_property("start to first commit s", round(at - began, 2))
        record_property("first commit to caught up s", round(seconds, 2))
        record_property("times the live rate", round(times_live, 1))
        wait_until(lambda: chain.committed() == chain.market.ticks)
    assert times_live > 5
