"""`/metrics` of a real recording: valid, and equal to the status and to the database."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from ingest.database.connections import Database
from ingest.live.observe.conditions import CONDITIONS
from ingest.live.status import websocket_status
from tests.db.test_status import served
from tests.engines import on_one_engine
from tests.fault.live import Running, running, until
from tests.simulated import free_port

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(port: int, accept: str = "text/plain") -> str:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Accept": accept}) as session:
        async with session.get("/metrics") as answer:
            assert answer.status == 200 and answer.headers["Content-Type"].startswith(accept)
            return await answer.text()


def values_of(text: str) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parsed(text)
        for sample in family.samples
    }


def of(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


class Failing:
    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        raise RuntimeError("a user's own")


@on_one_engine
def test_metrics_equal_the_status_and_the_database(database: Database, home: Path) -> None:
    port, mine = free_port(), Counter("mine", "A user's own.", registry=None)

    async def quiet(run: Running) -> tuple[Values, str]:
        """Scrape when nothing moves: all that the simulator sent is committed."""
        run.simulator.faults.mute = set(run.simulator.source.keys)
        feed, written = run.ingestion.streams[0].feed, run.ingestion.streams[0].consumer.counts
        while True:
            await until(lambda: written.frames == feed.stats.frames)
            values = values_of(text := await scraped(port))
            if of(values, "tickline_frames_total", connection="1") == feed.stats.frames:
                return values, text

    async def run() -> tuple[Values, Values, str]:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await served(port)
            REGISTRY.register(mine)
            run.simulator.drop_all()
            await run.live(connections=2)
            await until(lambda: run.confirmed == 60)
            values, text = await quiet(run)
            status = websocket_status(run.ingestion)
            (connection,) = status["connections"]
            for name, at in (
                ("tickline_frames_total", "frames"),
                ("tickline_frame_bytes_total", "bytes"),
                ("tickline_ticks_total", "ticks"),
                ("tickline_rejected_updates_total", "rejected"),
                ("tickline_connections_total", "connections"),
            ):
                assert of(values, name, connection="1") == connection[at], name
            assert of(values, "tickline_keys", state="confirmed") == 60 == of(values, "tickline_keys_wanted")
            assert list(parsed_openmetrics(await scraped(port, "application/openmetrics-text")))
            failing = Failing()
            REGISTRY.register(failing)
            try:
                left = values_of(await scraped(port))
            finally:
                REGISTRY.unregister(failing)
            return values, left, text

    try:
        values, left, text = asyncio.run(run())
    finally:
        REGISTRY.unregister(mine)
    one = {"connection": "1"}
    lost = sum(value for (name, _), value in values.items() if name == "tickline_reconnects_total")
    assert lost == of(values, "tickline_connections_total", **one) - 1 > 0
    assert lost == of(values, "tickline_reconnects_total", **one, reason="broken")
    assert of(values, "tickline_received_to_committed_seconds_count", **one) == of(
        values, "tickline_ticks_total", **one
    )
    assert of(values, "tickline_commit_seconds_count") == of(values, "tickline_batches_total", **one)
    assert 0 < of(values, "tickline_copy_seconds_sum") < of(values, "tickline_commit_seconds_sum")
    assert (
        of(values, "tickline_journal_fsync_seconds_count", **one) > 0 < of(values, "tickline_journal_disk_free_bytes")
    )
    assert of(values, "tickline_journal_lag_records", **one) == 0 == of(values, "tickline_journal_lag_seconds", **one)
    assert of(values, "tickline_segment_state", segment="NSE_FO", state="open") == 1
    assert {dict(labels)["id"] for name, labels in values if name == "tickline_condition"} == set(CONDITIONS)
    assert of(values, "mine_total") == 0 and of(values, "process_resident_memory_bytes") > 0
    assert ("mine_total", frozenset()) not in left and of(left, "tickline_ticks_total", **one) > 0
    with database.connect() as connection:
        found = connection.execute("select count(*), count(*) filter (where traded) from ticks").fetchone()
        frames = connection.execute("select sum(frames)::int from tickline.ledger").fetchone()
    assert found == tuple(of(values, f"tickline_{name}_total", **one) for name in ("ticks", "trades"))
    assert frames == (of(values, "tickline_frames_total", **one),)
    assert not [name for name, labels in values if any("|" in value for _, value in labels)]
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed: the names are not checked by it")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("tickline")] == []
