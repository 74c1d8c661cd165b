"""The benches with small sizes: every figure is there and counts what was sent. How fast is not asked here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.bench.market import make_market
from ingest.bench.peers import COLUMNS, PEERS, TABLE
from ingest.cli import group
from ingest.cli.trial.bench import PEERS as PEER_NAMES
from ingest.database.connections import Database
from ingest.journal.recording import read_recording
from tests.db.test_cli import tickline
from tests.engines import on_one_engine

SPREADS = ("ingest_per_s", "copy_per_s", "ingester_cpu_s", "server_cpu_s", "memory_mb")


@on_one_engine
def test_ingest_shows_every_figure_and_its_peers(engine: str) -> None:
    line = f"bench ingest --ticks 2000 --instruments 50 --peer write_row --peer asyncpg --engine {engine} --format json"
    ran = tickline(*line.split(), timeout_s=200)
    assert ran.returncode == 0, ran.stderr
    [result] = json.loads(ran.stdout)
    assert (result["engine"], result["ticks"], result["runs"]) == (engine, 2_000, 1)
    assert result["decoder"] in {"compiled", "plain"}
    for name in SPREADS:
        assert 0 < result[name]["min"] <= result[name]["median"] <= result[name]["max"], name
    assert result["ratio"] == result["ingest_per_s"]["median"] / result["copy_per_s"]["median"]
    assert [peer["ticks"] for peer in result["peers"]] == [2_000, 2_000]
    for peer in result["peers"]:
        assert peer["ratio"] == result["ingest_per_s"]["median"] / peer["per_s"]["median"]
    assert f"{engine} 1/1: ingesting 2,000 ticks of 50 instruments" in ran.stderr


@on_one_engine
def test_latency_counts_every_tick_sent_and_orders_its_percentiles(engine: str) -> None:
    line = "bench latency --rates 500 --seconds 1 --warm-up 0.5 --instruments 50 --format json"
    ran = tickline(*line.split(), "--engine", engine, timeout_s=200)
    assert ran.returncode == 0, ran.stderr
    [result] = json.loads(ran.stdout)
    assert (result["rate"], result["seconds"], result["instruments"]) == (500, 1.0, 50)
    assert result["sent"] == result["committed"] == result["heard"] == 750
    assert 0 < result["sent_per_s"] < 510  # never faster than it is due; how late it may be is the machine's affair
    for way in ("due_to_commit", "received_to_commit", "due_to_handler"):
        found = result[way]
        assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"] <= found["max_ms"] + 1, way
        assert 0 < found["mean_ms"] <= found["max_ms"], way
    for name in ("ingester_cpu_percent", "server_cpu_percent", "memory_mb", "flush_ms"):
        assert result[name] > 0, name


@on_one_engine
def test_every_peer_stores_the_same_rows(database: Database, tmp_path: Path) -> None:
    assert tuple(PEERS) == PEER_NAMES
    market = make_market(tmp_path / "a", ticks=300, instruments=50, frame_ticks=[10])
    payloads = [frame.payload for frame in read_recording(market.recording)]
    found = {name: rows_of(name, payloads, database) for name in PEERS}
    for name, rows in found.items():
        assert len(rows) == market.ticks, name
        assert rows == found["write_row"], name
    assert all(any(row[place] for row in found["orm"]) for place in range(len(COLUMNS) - 1))


def rows_of(name: str, payloads: list[bytes], database: Database) -> list[tuple[Any, ...]]:
    """What a peer has stored, but when; zero and "not sent" are the same on the wire."""
    with PEERS[name].open(database.url) as insert:
        assert insert(payloads) > 0
    columns = [column for column in COLUMNS if column != "received_at"]
    shown = [f"nullif({column}, 0)" if COLUMNS[column] in {"float8", "int8"} else column for column in columns]
    with psycopg.connect(database.url) as connection:
        return connection.execute(f"select {', '.join(shown)} from {TABLE} order by {', '.join(columns)}").fetchall()


@pytest.mark.parametrize(
    ("library", "module", "command", "said"),
    [
        ("hdrh.histogram", "ingest.bench.latency", "bench latency", "latencies need the library 'hdrhistogram'"),
        ("pyarrow", "ingest.bench.peers", "bench ingest --peers", "peers need the library 'pyarrow'"),
    ],
)
def test_missing_library_is_refused_before_anything_is_measured(
    library: str, module: str, command: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    ran = CliRunner().invoke(group, command.split())
    assert ran.output == ""
    assert str(ran.exception) == f"{said}, which is not installed: run `pip install 'tickline[bench]'`"
