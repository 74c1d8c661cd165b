"""`write` in this process: what it says of itself, and a stream that it must leave alone while others go on."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from ingest.cli.operate.status_text import as_text, looked
from ingest.cli.record.write import Progress
from ingest.database.connections import Database
from ingest.doctor.findings import Check, Finding, examine
from ingest.doctor.installation import Installation
from ingest.doctor.recording import check_connected, check_running, check_symbols
from ingest.errors import ConfigError
from ingest.journal.folder import segments_of
from ingest.journal.format import decode_segment_header
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.live.distributed.writing import Writing, sources_of, write
from ingest.model.records import RecordKind
from ingest.own_api import NotServedError, OwnApi
from ingest.settings import Settings
from ingest.transport.cursor import Cursor
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, rows
from tests.fault.live import until
from tests.simulated import NOWHERE, free_port

FRAMES = 20


def recorded(home: Path, collector: str, stream: str, recording: Path) -> None:
    """Fill a stream's journal with the first frames of a recording."""
    folder = home / "journal" / collector / stream
    journal = JournalWriter(
        folder,
        collector=collector,
        stream=stream,
        next_seq=int(stream) * 10**11 + 1,
        limits=JournalLimits(fsync_ms=0),
    )
    for frame in islice(read_recording(recording), FRAMES):
        journal.append(RecordKind.FRAME, frame.payload, frame.received_ms * 1000)
    journal.close()


def made_newer(folder: Path) -> None:
    """Give a segment the next version of the format."""
    (path,) = segments_of(folder)
    data = path.read_bytes()
    _, begins = decode_segment_header(data, path.name)
    head = data[: begins - 4].replace(b"JRNL\2", b"JRNL\3")
    path.write_bytes(head + google_crc32c.value(head).to_bytes(4, "little") + data[begins:])


async def asked(port: int, path: str) -> tuple[int, Any]:
    def ask() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WITHIN_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read()

    status, body = await asyncio.to_thread(ask)
    return status, body.decode() if path == "/metrics" else json.loads(body)


def examined() -> list[Finding]:
    """What `doctor` says of the program that runs at the port of the settings."""
    installation = Installation(lambda _: None)
    checks = [Check("running", check_running), Check("connected", check_connected), Check("symbols", check_symbols)]
    try:
        return list(examine(installation, checks))
    finally:
        installation.close()


@on_one_engine
def test_writer_says_what_it_writes_and_leaves_a_newer_stream_alone_while_others_go_on(
    database: Database, home: Path, session: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.chdir(home)
    for name, value in {"HOME": str(home / "writer"), "API_PORT": str(port), "DATABASE_URL": database.url}.items():
        monkeypatch.setenv(f"TICKLINE_{name}", value)
    for collector, stream in (("alpha", "1"), ("beta", "1"), ("beta", "2")):
        recorded(home, collector, stream, session)
    made_newer(home / "journal" / "beta" / "1")
    config = Settings(home=home / "writer", api_port=port, upstox_assets_url=NOWHERE, upstox_api_url=NOWHERE)

    async def run() -> None:
        seen: list[Writing] = []
        stop = asyncio.Event()
        sources = sources_of([str(home), "http://127.0.0.1:9"], config)
        running = asyncio.create_task(
            write(config, database.url, sources, stop=stop, ready=seen.append, show=Progress())
        )
        await until(lambda: bool(seen) and sum(one.consumer.counts.frames for one in seen[0].streams) == 2 * FRAMES)
        await until(lambda: any(one.refused for one in seen[0].streams))
        status, health = await asked(port, "/health")
        assert (status, health["status"]) == (503, "unhealthy")
        refused, away = sorted(health["problems"])
        assert "collector beta stream 1: journal segment" in refused and "install a newer tickline" in refused
        assert "collector http://127.0.0.1:9 is unreachable: " in away
        _, found = await asked(port, "/api/v1/writer")
        assert [(one["collector"], one["state"]) for one in found["collectors"]] == [
            ("alpha", "writing"),
            ("beta", "writing"),
            (None, "unreachable"),
        ]
        beta = found["collectors"][1]["streams"]
        assert beta["1"]["committed"] is None
        assert beta["2"]["frames"] == FRAMES
        said = as_text("writer", found).splitlines()
        assert any(line.startswith("collector beta: ") and "state writing" in line for line in said)
        assert any(line.startswith("stream 1: ") and "newer tickline" in line for line in said)
        _, metrics = await asked(port, "/metrics")
        assert 'tickline_writer_writes{collector="alpha"} 1.0' in metrics
        assert 'tickline_writer_lag_bytes{collector="beta",connection="2"} 0.0' in metrics
        assert (await asked(port, "/nothing"))[0] == 404
        # What only a recorder has is not asked of a writer.
        api = OwnApi("127.0.0.1", port)
        answer, problems = await asyncio.to_thread(looked, api, "status")
        assert (answer["collectors"][0]["collector"], len(problems)) == ("alpha", 2)
        with pytest.raises(NotServedError, match="does not serve '/api/v1/websocket/latest-ticks': `tickline status`"):
            await asyncio.to_thread(looked, api, "ticks")
        *unhealthy, connected, ticks = await asyncio.to_thread(examined)
        assert [one.remedy for one in unhealthy] == ["see `tickline status`"] * 2
        assert connected.text == "collectors: alpha: writing, beta: writing, http://127.0.0.1:9: unreachable"
        assert (ticks.state, ticks.text.partition(" ")[2]) == ("ok", "ticks committed here since the start")
        await until(lambda: Cursor(home / "journal" / "alpha").committed("1") is not None)
        await until(lambda: seen[0].once.is_held)
        stop.set()
        await running

    asyncio.run(run())
    committed = (
        "select collector, split_part(segment, '/', 1), sum(frames) from tickline.ledger group by 1, 2 order by 1"
    )
    assert rows(database, committed) == [("alpha", "1", FRAMES), ("beta", "2", FRAMES)]
    assert "stream is left alone, others go on collector=beta stream=1" in caplog.text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("/nowhere", "source '/nowhere' is no home with a journal, and no address: write that as https://host:8791"),
        ("http://192.0.2.1:8791", "unencrypted: use https://"),
    ],
)
def test_source_that_is_none_is_refused(source: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sources_of([source], Settings())
