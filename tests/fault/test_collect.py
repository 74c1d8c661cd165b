"""`collect`: the feed in a journal that others may read, without a database."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ingest.doctor import recording, server
from ingest.doctor.findings import Check, examine
from ingest.doctor.installation import Installation
from ingest.journal.housekeeping import tidy
from ingest.live import stream
from ingest.live.latest_ticks import latest_ticks
from ingest.live.observe import health
from ingest.live.observe.observer import ask_disk
from ingest.live.status import not_ready, websocket_status
from ingest.model.records import RecordKind
from ingest.transport.broker.broker_collector import BrokerCollector
from ingest.transport.broker.link import BrokerSettings
from tests.broker import Broker, needs_broker
from tests.fault.harness import WITHIN_S, records_of
from tests.fault.live import Running, running, until
from tests.simulated import free_port
from tests.unit.journal.journals import NOW


def asked(port: int, path: str, body: Any = None, token: str = "") -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}"},
        method="GET" if body is None else "PUT",
    )
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
        return json.loads(answer.read())


def examined(home: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What `doctor` says of what a collector does not need."""
    monkeypatch.chdir(home)
    for name, value in {"HOME": str(home), "API_PORT": str(port), "DATABASE_URL": "", "UNIVERSE": ""}.items():
        monkeypatch.setenv(f"TICKLINE_{name}", value)
    checks = [
        Check("database", server.check_server),
        Check("engine", server.check_extension),
        Check("ticks", server.check_ticks),
        Check("plan", recording.check_plan),
    ]
    installation = Installation(lambda _: None)
    try:
        return [(one.topic, one.state, one.text) for one in examine(installation, checks)]
    finally:
        installation.close()


async def recorded(run: Running, ticks: int) -> None:
    await until(lambda: run.ticks >= ticks)


def test_collector_needs_no_database_and_keeps_what_no_writer_has(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, api_port = free_port(), free_port()
    folder = home / "journal" / "default" / "1"
    monkeypatch.setattr(health, "READ_WITHIN_S", 0.0)

    async def first() -> None:
        given = {"journal_port": port, "api_port": api_port, "journal_segment_bytes_max": 60_000}
        async with running(None, home, speed=5.0, **given) as run:
            await recorded(run, 1_000)
            ingestion = run.ingestion
            assert not_ready(ingestion) == []
            assert latest_ticks(ingestion)["symbols_tracked"] > 10
            assert websocket_status(ingestion)["journal_server"]["error"] is None
            lines = await asyncio.to_thread(examined, home, api_port, monkeypatch)
            assert lines == [
                ("database", "ok", "none is needed: a collector runs, whose journal writers commit"),
                ("plan", "ok", f"a collector runs, which records {len(ingestion.keys)} keys now"),
            ]
            await asyncio.to_thread(ask_disk, ingestion)
            (waits,) = [one for one in health.conditions(ingestion) if one.id == "no_writer"]
            assert "run `tickline write` with the address of this collector" in waits.text
            await until(lambda: len(ingestion.streams[0].feed.write_queue.journal.segments()) > 3)
            *before, last, _ = (await asyncio.to_thread(asked, port, "/journal"))["streams"]["1"]  # it is closed
            stream = ingestion.streams[0]
            now = stream.feed.write_queue.journal.segment
            assert stream.committed() is None
            assert tidy(folder, stream.committed(), keep_days=0, quota_bytes=1, now=NOW, held=now).deleted == 0
            told = {"segment": last["name"], "offset": 100, "database": "ledger"}
            token = (home / "journal-token").read_text().strip()
            await asyncio.to_thread(asked, port, "/journal/1/committed", told, token)
            said = await asyncio.to_thread(asked, port, "/universe")
            assert said["refuses"].startswith("it has keys of its own: unset TICKLINE_UNIVERSE")
            with pytest.raises(OSError, match="422"):
                await asyncio.to_thread(asked, port, "/universe", {"database": "ledger", "keys": {}}, token)
            assert stream.committed() is not None
            kept = tidy(folder, stream.committed(), keep_days=0, quota_bytes=1, now=NOW, held=now)
            assert kept.deleted == len(before) > 0
            assert next(path.name[:24] for path in stream.feed.write_queue.journal.segments()) == last["name"]

    async def second() -> None:
        """Liveness begins with what comes now: earlier ticks are the writer's business."""
        async with running(None, home, journal_port=0) as run:
            await recorded(run, 100)
            assert run.ingestion.journal_server is None
            assert run.ingestion.streams[0].consumer.state.taken_seq > 10**6
            assert run.ingestion.streams[0].waiting_bytes() > 0

    asyncio.run(first())
    before = records_of(folder)[-1][1].seq
    asyncio.run(second())
    records = [record for _, record in records_of(folder)]
    begins = next(record for record in records if record.seq > before)
    assert begins.kind == RecordKind.CONNECTED
    assert json.loads(begins.payload)["after_seq"] == before
    assert begins.seq == before + 10**6 + 1


@needs_broker
def test_collector_publishes_what_it_records_and_says_when_it_cannot(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TROUBLE_S", 0.0)

    async def run() -> None:
        given = {"publish": True, "nats_url": broker.url, "journal_fsync_ms": 5}
        async with running(None, home, journal_port=0, **given) as run:
            await recorded(run, 200)
            publisher = run.ingestion.publisher
            assert publisher is not None
            await until(lambda: publisher.streams["1"].blocks > 5)
            assert websocket_status(run.ingestion)["publisher"]["streams"]["1"]["error"] is None
            broker.kill()
            ticks = run.ticks
            await until(lambda: any(one.id == "journal_unpublished" for one in health.conditions(run.ingestion)))
            await recorded(run, ticks + 200)  # the journal and all behind it go on
            broker.start()
            await until(lambda: not publisher.errors())

    async def read(size: int) -> bytes:
        source, data = BrokerCollector(BrokerSettings((broker.url,)), "default"), b""
        (segment,) = (await source.streams()).streams["1"]
        async with asyncio.timeout(WITHIN_S):
            while len(data) < size:  # the header comes first, and what the broker is slow to bring comes later
                data += (await source.piece("1", segment.name, len(data), bytes_max=2**20, wait_s=0.2)).data
        await source.close()
        return data

    with Broker(tmp_path / "nats") as broker:
        asyncio.run(run())
        (path,) = (home / "journal" / "default" / "1").iterdir()
        assert asyncio.run(read(path.stat().st_size)) == path.read_bytes()


def test_collectors_that_start_at_the_same_moment_number_their_records_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick does not say whose it is; and a journal that was deleted never begins with numbers that it had before."""
    monkeypatch.setattr(stream.time, "time", lambda: 1_790_000_000.0)
    first = {name: stream._unused_seq(1, name, is_empty=True) for name in ("mumbai", "chennai", "default")}
    assert min(abs(one - other) for one, other in combinations(first.values(), 2)) > 10_000
    monkeypatch.setattr(stream.time, "time", lambda: 1_790_000_001.0)
    assert {name: stream._unused_seq(1, name, is_empty=True) - 100 for name in first} == first
    assert stream._unused_seq(500, "mumbai", is_empty=False) == 500 + 10**6
