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


@needs_broker
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["postgres", "timescale"])
@pytest.mark.parametrize("through", ["broker", "pull"])
@pytest.mark.parametrize("rate", [10_000, 20_000])
def test_rate_is_held_through_broker_and_pull_without_a_backlog(
    engine: Any, through: str, rate: int, tmp_path: Path, record_property: RecordProperty
) -> None:
    market = make_paced_market(tmp_path / "market", rate=rate, seconds=SECONDS, instruments=INSTRUMENTS)
    interval_ns = market.ticks_per_frame / rate * 1e9
    with ExitStack() as stack:
        bench = stack.enter_context(Bench.of(engine, market, SERVER))
        broker = stack.enter_context(Broker(tmp_path / "nats"))
        feed = stack.enter_context(Feed(market, interval_ns=interval_ns))
        url, port, home = feed.next()["url"], _free_port(), tmp_path / "collector"
        home.mkdir()
        (home / "journal-token").write_text(TOKEN)
        common = {"TICKLINE_NATS_URL": broker.url, "UPSTOX_API_URL": url, "UPSTOX_ASSETS_URL": url}
        common |= {"UPSTOX_ACCESS_TOKEN": "bench", "TICKLINE_COLLECTOR_TOKEN": TOKEN}
        collecting = common | {
            "TICKLINE_HOME": str(home),
            "TICKLINE_JOURNAL_PORT": str(port),
            "TICKLINE_API_PORT": "0",
            "TICKLINE_JOURNAL_FSYNC_MS": "10",
            "TICKLINE_SUBSCRIBE_BATCH_KEYS": str(len(market.keys)),
            "TICKLINE_SUBSCRIBE_INTERVAL_MS": "0",
            "TICKLINE_PUBLISH": str(through == "broker").lower(),
        }
        address = f"http://127.0.0.1:{port}"
        source = f"nats:default={address}" if through == "broker" else address
        writer = Part(
            ["write", source],
            common | {"TICKLINE_HOME": str(bench.home), "TICKLINE_ENGINE": engine, "TICKLINE_BACKFILL_S": "0"},
        )
        stack.callback(writer.stop)
        collector = Part(["collect", *market.keys], collecting)
        stack.callback(collector.stop)
        connection = stack.enter_context(bench.database.connect(autocommit=True))
        began_ns = feed.next()["began_ns"]
        time.sleep(max(0.0, began_ns / 1e9 + WARM_UP_S - time.time()))
        parts = {"collector": collector.watched, "writer": writer.watched, "broker": psutil.Process(broker.process.pid)}
        before = {name: cpu_s(part) for name, part in parts.items()}
        server_s = bench.server_cpu_s()
        sent = feed.next()
        used = {name: cpu_s(part) - before[name] for name, part in parts.items()}
        used["server"] = bench.server_cpu_s() - server_s
        count = "select coalesce(sum(ticks), 0) from tickline.ledger"
        wait_until(lambda: connection.execute(count).fetchone() == (market.ticks,))
        backlog_s = time.time() - sent["ended_ns"] / 1e9
        with bench.superuser() as superuser:
            frames, committed = _frames_of(superuser, market), _committed_us(superuser)
    due_ns = began_ns + np.rint(np.arange(market.frames) * interval_ns).astype(np.int64)
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
