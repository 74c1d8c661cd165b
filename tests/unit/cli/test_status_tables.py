"""`tickline status` and `db status` for people: a table for each key on a terminal, whole lines in a pipe."""

from __future__ import annotations

import json
import os
import pty
import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ingest.cli.operate.database_status import show
from ingest.cli.operate.status_text import print_rows
from ingest.cli.operate.status_watch import watch_status
from ingest.database.operations.jobs import JobStatus
from ingest.database.operations.recommended import Difference
from ingest.database.operations.status import (
    DaysStatus,
    RelationStatus,
    ReplicaStatus,
    ReplicationStatus,
    RoleStatus,
    SlotStatus,
    Status,
)
from ingest.own_api import OwnApi

TICKS = {
    "latest_ticks": {
        "NSE_EQ|INE009A01021": {"price": 1610.5, "volume": 1234, "timestamp": "2025-12-15T04:02:00+00:00"},
        "NSE_INDEX|Nifty 50": {"price": 26_000.05, "volume": None, "timestamp": "2025-12-15T04:02:01+00:00"},
    },
    "total_updates": 7,
}


def test_status_of_keys_is_a_table_after_the_other_facts(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("ticks", TICKS)
    assert capsys.readouterr().out.splitlines() == [
        "total_updates: 7",
        "symbol                  price  volume  timestamp",
        "NSE_EQ|INE009A01021    1610.5    1234  2025-12-15 09:32:00 IST",
        "NSE_INDEX|Nifty 50   26000.05       -  2025-12-15 09:32:01 IST",
    ]


def test_watch_fills_a_terminal_and_gives_a_pipe_a_line_each_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counting(OwnApi):
        looks = 0

        def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
            self.looks += 1
            return super().ask(path, method)

    api = Counting("127.0.0.1", 1)  # nothing answers there
    watch_status(api, "status", "table", every_s=0.01, for_s=0.5)
    looks = api.looks
    watch_status(api, "ticks", "json", every_s=0.01, for_s=0.001)
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == looks > 1 and all(
        " IST away problems=no ingester answers on port 1: " in line for line in lines
    )
    assert json.loads(last)["ticks"] is None
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal has no path here
        monkeypatch.setattr(sys, "stdout", stream)
        watch_status(api, "status", "table", every_s=0.01, for_s=0.001)
        stream.write("END")
        stream.flush()
        shown = ""
        while "END" not in shown:  # a terminal gives it in pieces
            shown += os.read(ours, 2**16).decode()
    os.close(ours)
    assert "IST  away" in shown and "no ingester answers on port 1" in shown


def test_status_without_a_key_is_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("subscriptions", {"subscriptions": {}})
    assert capsys.readouterr().out.split() == ["instrument_key"]


def test_db_status_in_a_pipe_is_whole_however_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    at = datetime(2025, 12, 15, 4, tzinfo=UTC)
    relations = [
        RelationStatus("bars_1m", 5, 2_000_000, 1, 400_000.0),
        RelationStatus("ticks", 1_234_567, 900, 12, None),
    ]
    jobs = [
        JobStatus(1000, "a_relation_with_a_long_name", "job of " + "a name " * 20, "1 hour", 7, 0, *[None] * 4, False),
        JobStatus(1001, None, "archive", "1 day", 7, 2, at, at, at, "no room\nat all", True),
        JobStatus(1002, "ticks", "columnstore", "1 day", 7, 1, at, at, at, "deadlock", False),
    ]
    found = Status(
        database="ticks",
        place="embedded",
        engine="postgres",
        server_version="18.6",
        timescaledb_version=None,
        revision="0007",
        head="0007",
        bytes=10**9,
        days=DaysStatus(date(2025, 12, 1), date(2025, 12, 15), 11, 2, 9, 3, 4),
        relations=relations,
        jobs=jobs,
        replication=ReplicationStatus("primary", "replica", 5, None),
        replicas=[ReplicaStatus("standby_1", "10.0.0.2", "streaming", "async", 12_000, 0.25)],
        slots=[SlotStatus("gone", "physical", False, "extended", 5 * 10**9)],
        roles=[
            RoleStatus("boss", ["boss"], reads=True, writes=True, owns=True, superuser=True),
            RoleStatus("tickline_reader", ["desk", "grafana"], reads=True, writes=False, owns=False, superuser=False),
            RoleStatus("tickline_writer", [], reads=True, writes=True, owns=False, superuser=False),
        ],
        settings=[Difference("fsync", "off", "on", "a power cut can destroy the database")],
    )
    show(found)
    facts, sizes, job_table, replicas, slots, roles, settings = capsys.readouterr().out.split("\n\n")
    assert facts.splitlines()[-3:] == [
        "size         1 GB",
        "days (UTC)   11 with ticks, 2025-12-01 to 2025-12-15; 9 exported, 3 reconciled, 4 dropped; "
        "2 neither exported nor reconciled",
        "replication  primary; wal_level replica, max_wal_senders 5",
    ]
    assert sizes.splitlines() == [
        "relation  rows (approx.)   size  bytes/row  parts",
        "bars_1m                5   2 MB  400,000.0      1",
        "ticks          1,234,567  900 B          -     12",
    ]
    lines = job_table.splitlines()
    assert jobs[0].job in lines[1] and lines[1].split()[-2:] == ["never", "none"]
    assert lines[2].endswith("2025-12-15 09:30:00 IST: no room at all")
    assert lines[3].endswith("2025-12-15 09:30:00 IST (over): deadlock")
    assert replicas.splitlines()[1] == "standby_1  10.0.0.2  streaming  async   12 kB    0.2"
    assert slots.splitlines()[1] == "gone  physical  no      extended   5 GB"
    assert roles.splitlines() == [
        "role             logins         reads  writes  owns",
        "boss             boss           yes    yes     superuser",
        "tickline_reader  desk, grafana  yes    no      no",
        "tickline_writer  none           yes    yes     no",
    ]
    assert settings.splitlines()[1] == "fsync    off    on           a power cut can destroy the database"
