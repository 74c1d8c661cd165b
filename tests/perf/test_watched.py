"""What it costs a recording to be watched: a page in a browser, a monitor, and 20 clients of the event stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from ingest.bench.latency import SERVER, Latency, _committed_us, _frames_of, make_paced_market
from ingest.bench.market import BenchMarket
from ingest.bench.processes import Bench, Feed, Ingester, _free_port
from tests.browser import CHROMIUM, Seen, browser
from tests.data import REPOSITORY

RATE, INSTRUMENTS = 10_000, 2_000
OPEN_S, WATCHED_S, SECONDS = 5.0, 20.0, 45.0  # when watchers begin to come, when they are all there, and the end
CLIENTS, KEYS_EACH = 20, 50
MORE_MS_AIM, MORE_MB_AIM = 2.0, 20.0


class Watched(NamedTuple):
    """Figures of one run: latency from receipt to commit, CPU in percent of a core, resident size.

    `opening` is the latency while watchers come: the API is loaded, and page and browser start.
    """

    latency: Latency
    opening: Latency
    cpu: dict[str, float]
    memory_mb: float
    said: dict[str, Any]


@pytest.mark.bench
@pytest.mark.parametrize("engine", ["postgres", "timescale"])
def test_watching_costs_a_recording_little_and_loses_nothing(engine: Any, tmp_path: Path) -> None:
    market = make_paced_market(tmp_path / "market", rate=RATE, seconds=SECONDS, instruments=INSTRUMENTS)
    alone, watched = recorded(engine, market, watch=False), recorded(engine, market, watch=True)
    for name, run in (("alone", alone), ("watched", watched)):
        cpu = ", ".join(f"{part} {percent:.0f} %" for part, percent in run.cpu.items())
        print(
            f"\n{engine}, {name}: received to committed p50 {run.latency.p50_ms:.1f}, p99 {run.latency.p99_ms:.1f}, "
            f"p99.9 {run.latency.p999_ms:.1f} ms; p99 while watchers come {run.opening.p99_ms:.1f} ms; "
            f"CPU {cpu}; memory {run.memory_mb:.0f} MB"
        )
    print(f"scrapes {watched.said['scrapes']}, slowest {watched.said['scrape_ms_max']:.0f} ms; "
          f"ticks of clients {sum(ticks for _, ticks, _ in watched.said['clients']):,}")  # fmt: skip
    more_ms, more_mb = watched.latency.p99_ms - alone.latency.p99_ms, watched.memory_mb - alone.memory_mb
    print(
        f"watched needs {more_ms:.1f} ms more at p99 (aim {MORE_MS_AIM:g}) and {more_mb:.0f} MB (aim {MORE_MB_AIM:g})"
    )


def recorded(engine: Any, market: BenchMarket, *, watch: bool) -> Watched:
    """Record the market at its rate, with everybody looking or nobody; check that nothing is lost."""
    interval_ns = market.ticks_per_frame / RATE * 1e9
    port, page_port = _free_port(), _free_port()
    with ExitStack() as stack:
        bench = stack.enter_context(Bench.of(engine, market, SERVER))
        feed = stack.enter_context(Feed(market, interval_ns=interval_ns))
        ingester = stack.enter_context(Ingester(bench, feed.next()["url"], {"TICKLINE_API_PORT": str(port)}))
        connection = stack.enter_context(bench.database.connect(autocommit=True))
        began_ns = feed.next(ingester)["began_ns"]
        watchers, parts = None, {"ingester": [ingester._watched]}
        time.sleep(max(0.0, began_ns / 1e9 + OPEN_S - time.time()))
        if watch:
            environment = os.environ | {"TICKLINE_HOME": str(bench.home), "TICKLINE_ENGINE": engine}
            environment |= {"TICKLINE_API_PORT": str(port), "TICKLINE_PAGE_PORT": str(page_port)}
            environment |= {"PYTHONPATH": str(REPOSITORY)}
            asked = {"port": port, "token": str(bench.home / "api-token"), "keys": list(market.keys)}
            asked |= {"clients": CLIENTS, "keys_each": KEYS_EACH}
            watchers = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.perf.watchers", json.dumps(asked)],
                    env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
            assert watchers.stdout is not None and watchers.stdout.readline() == "looking\n"
            page = subprocess.Popen([sys.executable, "-m", "ingest.cli", "page"], env=environment)
            stack.callback(page.wait)
            stack.callback(page.terminate)
            parts |= {"clients": [psutil.Process(watchers.pid)], "page": [psutil.Process(page.pid)]}
            if CHROMIUM is not None:
                opened = stack.enter_context(browser())
                wait_for_port(page_port)
                Seen(opened, f"http://127.0.0.1:{page_port}/")
                parts["browser"] = [one for one in psutil.process_iter(["name"]) if "chrom" in (one.info["name"] or "")]
        assert time.time() < began_ns / 1e9 + WATCHED_S, "this machine is too slow"
        time.sleep(max(0.0, began_ns / 1e9 + WATCHED_S - time.time()))
        at, before = time.monotonic(), {part: cpu_s(found) for part, found in parts.items()}
        feed.next(ingester)
        took = time.monotonic() - at
        cpu = {part: (cpu_s(found) - before[part]) / took * 100 for part, found in parts.items()}
        memory_mb = ingester.memory_mb()
        ingester.wait(connection, market.ticks, lambda _: None)
        said: dict[str, Any] = {}
        if watchers is not None:
            time.sleep(2)  # the last ticks are on their way to the clients
            said = json.loads(watchers.communicate()[0])
            assert (said["twice"], said["missed"], said["failed"]) == (0, [], [])
            for first, ticks, keys in said["clients"]:
                [(there,)] = connection.execute(
                    "select count(*) from ticks join instruments using (instrument_id) "
                    "where seq >= %s and instrument_key = any(%s)",
                    (first, keys),
                ).fetchall()
                assert ticks == there
            assert len(said["clients"]) == CLIENTS - 1
        with bench.superuser() as superuser:
            frames, committed = _frames_of(superuser, market), _committed_us(superuser)
    due_ns = began_ns + np.rint(np.arange(market.frames) * interval_ns).astype(np.int64)
    latency_us = committed[np.searchsorted(committed[:, 0], frames[:, 0]), 1] - frames[:, 2]
    opening, watched = np.searchsorted(due_ns - due_ns[0], [OPEN_S * 1e9, WATCHED_S * 1e9])
    latency = Latency.of(latency_us[watched:], frames[watched:, 1])
    return Watched(latency, Latency.of(latency_us[opening:watched], frames[opening:watched, 1]), cpu, memory_mb, said)


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 60
    while all(one.laddr.port != port for one in psutil.net_connections("tcp") if one.status == "LISTEN"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
