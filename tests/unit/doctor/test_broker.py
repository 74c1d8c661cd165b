"""`doctor` on a broker: what it says of one as it should be, of others, and of none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ingest.doctor.broker import check_broker
from ingest.doctor.findings import Check, State, examine
from ingest.doctor.installation import Installation
from ingest.transport.broker.link import BrokerSettings, Link
from tests.broker import Broker, needs_broker

Lines = list[tuple[State, str]]


def found(home: Path, monkeypatch: pytest.MonkeyPatch, **given: str) -> Lines:
    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    for name, value in {"TICKLINE_HOME": str(home), "TICKLINE_DATABASE_URL": "host=127.0.0.1 port=1"}.items():
        monkeypatch.setenv(name, value)
    for name, value in given.items():
        monkeypatch.setenv(f"TICKLINE_NATS_{name}", value)
    installation = Installation(lambda _: None)
    lines = [(one.state, f"{one.text}: {one.remedy}") for one in examine(installation, [Check("broker", check_broker)])]
    installation.close()
    return lines


def make_stream(url: str, bytes_max: int) -> None:
    async def run() -> None:
        link = Link(BrokerSettings((url,), bytes_max=bytes_max), "test")
        await link.make_stream("desk.1")
        await (await link.client()).publish("tick.desk~1.1", bytes(900_000))
        await link.close()

    asyncio.run(run())


@needs_broker
def test_broker_as_it_should_be_and_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(tmp_path / "good") as good, Broker(tmp_path / "lazy", sync="2m") as lazy:
        monitors = [f"http://127.0.0.1:{one.monitor}" for one in (good, lazy)]
        lines = found(tmp_path, monkeypatch, URL=good.url, MONITOR_URL=monitors[0])
        assert [state for state, _ in lines] == [State.OK, State.OK]
        assert "syncs what it acknowledges" in lines[1][1]
        make_stream(lazy.url, 2**20)
        lines = found(tmp_path, monkeypatch, URL=lazy.url, MONITOR_URL=f"{monitors[1]},http://127.0.0.1:1")
        texts = " | ".join(text for state, text in lines if state is State.WARNING)
        assert "TICKLINE-desk~1: max_bytes is 1048576, the settings say 8589934592" in texts
        assert "bytes of 1,048,576: start a writer" in texts
        assert "a power cut takes acknowledged blocks: set `sync_interval: always`" in texts
        assert "http://127.0.0.1:1/ does not say when it syncs" in texts


def test_broker_that_is_away_or_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path, monkeypatch) == [(State.OK, "none: journals go from collectors to writers without one: ")]
    ((state, text),) = found(tmp_path, monkeypatch, URL="nats://user:hunter2@127.0.0.1:1")
    assert state is State.FAILURE and "broker does not answer" in text and "hunter2" not in text
    ((state, text),) = found(tmp_path, monkeypatch, URL="nats://user:hunter2@10.0.0.9:4222")
    assert state is State.FAILURE and "unencrypted: use tls://" in text and "hunter2" not in text
