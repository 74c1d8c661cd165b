"""`tickline doctor`: an installation that works, one that has nothing, and ones with a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingest.cli import group
from ingest.cli.operate import status_watch
from ingest.database.connections import HEAD, Database
from ingest.doctor import collectors
from ingest.doctor.collectors import check_collectors
from ingest.doctor.findings import Check, Finding, State, examine
from ingest.doctor.installation import Installation
from ingest.journal.folder import segment_name, segments_of
from tests.engines import on_one_engine
from tests.fault.live import running, until
from tests.simulated import free_port
from tests.unit.journal.journals import fill
from tests.unit.transport.test_server import TOKEN, Served

Lines = dict[str, list[dict[str, str]]]


def doctor(code: int) -> Lines:
    ran = CliRunner().invoke(group, ["doctor", "--format", "json"])
    assert ran.exit_code == code, ran.output
    lines: Lines = {}
    for one in json.loads(ran.stdout):
        lines.setdefault(one["topic"], []).append(one)
    return lines


def settle(monkeypatch: pytest.MonkeyPatch, home: Path, **given: Any) -> None:
    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    for name, value in {"TICKLINE_HOME": home, "UPSTOX_ACCESS_TOKEN": "", "TICKLINE_UNIVERSE": ""}.items():
        monkeypatch.setenv(name, str(value))
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))


def twice(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that may be called twice, before somebody presses Ctrl-C."""
    left = [None, None]

    def called(*given: Any) -> Any:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return function(*given)

    return called


@on_one_engine
def test_doctor_of_a_running_ingester_says_what_is_there(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()

    async def run() -> tuple[Lines, Lines, list[str]]:
        async with running(database, home, api_port=port) as run:
            simulator = run.simulator
            keys = sorted(simulator.source.keys)
            settle(
                monkeypatch,
                home,
                TICKLINE_DATABASE_URL=database.url,
                TICKLINE_API_PORT=port,
                TICKLINE_UNIVERSE=",".join(keys[:7]),
                UPSTOX_API_URL=simulator.url,
                UPSTOX_ACCESS_TOKEN=simulator.token,
            )
            await run.live()
            await until(lambda: run.confirmed == len(keys))
            well = await asyncio.to_thread(doctor, 0)
            monkeypatch.setenv("UPSTOX_ACCESS_TOKEN", "token-of-nobody")
            monkeypatch.setenv("TICKLINE_STANDBY", "true")
            monkeypatch.setenv("TICKLINE_CONNECTIONS_MAX", "1")
            ill = await asyncio.to_thread(doctor, 1)
            monkeypatch.setattr(status_watch, "looked", twice(status_watch.looked))
            watched = await asyncio.to_thread(CliRunner().invoke, group, ["status", "--watch", "--every", "0.1"])
            assert watched.exit_code == 0, watched.output
            return well, ill, watched.stdout.splitlines()

    well, ill, watched = asyncio.run(run())
    assert len(watched) == 2
    for line in watched:
        assert " IST healthy connected=1/1 keys=60/60 frames_per_s=" in line and " journal_lag_bytes=" in line
    for topic in ("packages", "decoder", "database", "ticks", "plan", "vendor", "clock"):
        assert [one["state"] for one in well[topic]] == ["ok"], well[topic]
    for topic in ("token", "running", "connected", "symbols", "journal"):
        assert "failure" not in [one["state"] for one in well[topic]], well[topic]
    assert "7 keys (7 full) on 1 connection(s)" in well["plan"][0]["text"]
    assert "of 60 symbols tracked" in well["symbols"][0]["text"] and "newest 2026-11-" in well["ticks"][0]["text"]
    assert ill["token"][0]["state"] == "failure" and ill["token"][0]["remedy"] == "run `tickline login`"
    assert ill["plan"][0]["state"] == "failure" and "TICKLINE_STANDBY" in ill["plan"][0]["text"]


def test_doctor_of_an_installation_that_has_nothing_says_so_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    settle(monkeypatch, home, TICKLINE_API_PORT=1, UPSTOX_API_URL="http://127.0.0.1:9", TICKLINE_DATABASE_URL="")
    lines = doctor(1)
    assert "tickline login" in lines["token"][0]["remedy"] and "cannot be reached" in lines["vendor"][0]["text"]
    assert lines["database"][0] | {"text": ""} == {
        "topic": "database",
        "state": "warning",
        "text": "",
        "remedy": "run `tickline db upgrade` or `tickline start`, which make it",
    }
    for topic in ("engine", "schema", "ticks", "connected", "clock"):
        assert lines[topic][0]["text"].startswith("not checked: ")
    assert list(home.iterdir()) == []
    ran = CliRunner().invoke(group, ["doctor"])
    assert ran.exit_code == 1 and " lines, 2 failures, " in ran.stdout.splitlines()[-1]


def test_doctor_knows_each_engine_with_its_licence_its_jobs_and_its_schema(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, tmp_path / "home", TICKLINE_DATABASE_URL=database.url, TICKLINE_API_PORT=1)
    monkeypatch.setenv("UPSTOX_API_URL", "http://127.0.0.1:9")
    lines = doctor(1)
    said = {topic: lines[topic][0]["text"] for topic in ("engine", "jobs", "schema", "ticks")}
    if database.engine == "timescale":
        assert said["engine"].startswith("timescale: TimescaleDB 2.") and said["engine"].endswith("licence timescale")
        assert int(said["jobs"].split()[0]) > 3
    else:
        assert said["engine"] == "postgres: plain PostgreSQL, the same relations"
        assert said["jobs"] == "none on this engine"
    assert (said["schema"], said["ticks"]) == (HEAD, "none yet")


@on_one_engine
def test_doctor_names_a_schema_that_is_missing_a_wrong_setting_and_a_foreign_program(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, tmp_path / "home", TICKLINE_DATABASE_URL=empty_database.url, TICKLINE_API_PORT=1)
    monkeypatch.setenv("UPSTOX_API_URL", "http://127.0.0.1:9")
    lines = doctor(1)
    assert lines["database"][0]["state"] == "ok" and "tickline db upgrade" in lines["schema"][0]["remedy"]
    monkeypatch.setenv("TICKLINE_MODE", "fuller")
    lines = doctor(1)
    assert "TICKLINE_MODE" in lines["settings"][0]["text"] and lines["settings"][0]["state"] == "failure"
    assert lines["database"][0]["text"] == lines["token"][0]["text"] == "not checked: the settings are wrong"
    assert lines["Python"][0]["state"] == "ok"


@on_one_engine
def test_doctor_says_how_much_of_a_collectors_journal_is_not_committed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "journal" / "1", 180)
    sizes = {segment_name(path): path.stat().st_size for path in segments_of(tmp_path / "journal" / "1")}
    served = Served(tmp_path / "journal")
    settle(monkeypatch, tmp_path / "home", TICKLINE_DATABASE_URL=database.url, TICKLINE_COLLECTOR_TOKEN=TOKEN)

    def last_line() -> Finding:
        installation = Installation(lambda _home, _name=None: None, [f"http://127.0.0.1:{served.server.port}"])
        *_, found = examine(installation, [Check("collector", check_collectors)])
        installation.close()
        return found

    try:
        total = sum(sizes.values())
        assert last_line().text == f"default: 1 streams, {total:,} bytes not committed"
        with database.connect(autocommit=True) as connection:
            row = (
                "insert into tickline.ledger (collector, segment, offset_start, offset_end, frames, ticks)"
                " values ('default', %s, 0, %s, 0, 0)"
            )
            first, second, _ = sizes
            connection.execute(row, (f"1/{first}", sizes[first]))
            connection.execute(row, (f"1/{second}", 1_000))
        left = total - sizes[first] - 1_000
        monkeypatch.setattr(collectors, "WAITING_BYTES", left - 1)
        line = last_line()
        assert line.text == f"default: {left:,} bytes of its journal are not committed, most in stream 1"
        assert (line.state, line.remedy.split(",")[0]) == (State.WARNING, "start `tickline write`")
    finally:
        served.close()
