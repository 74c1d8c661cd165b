"""Imports point one way only: entry, wiring, io, pure, nouns."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What each layer of `ingest` holds; a module may import its own layer and those before it.
LAYERS = [
    {"model", "proto", "config", "addresses", "foreign"},
    {"wire", "feeds", "decode", "judge", "official", "states", "columns", "normalise", "batch", "reading", "listening"}
    | {"messages", "pair", "journal_format", "subscription", "retry", "limiter", "candles", "clock", "master"}
    | {"crowd", "refusal"}
    | {"session", "segments", "planner", "universe", "keystates", "life", "liveness", "habit", "market_info", "opens"},
    {"recording", "journal", "journal_writer", "journal_reader", "journal_keeper", "sources", "spool"}
    | {"freshness", "timepiece", "fence", "last_error", "habit_cache", "access", "ledger", "names"}
    | {"calendar_cache", "tokens", "upstox", "instruments", "batches", "findings", "writer", "patient_writer", "feed"},
    {"rows", "quarantine", "consumer", "supervisor", "replay", "verify", "volumes", "backfill", "universe_keeper"}
    | {"segment_check", "naming"}
    | {"line", "watch", "service", "handlers", "status", "api", "api_guard", "api_protocol", "along"},
    {"cli", "simulator", "bench", "bench_journal", "blaster"},
]
PURE = [
    "wire",
    "messages",
    "feeds",
    "crowd",
    "decode",
    "judge",
    "official",
    "listening",
    "states",
    "columns",
    "normalise",
    "refusal",
    "batch",
    "reading",
    "pair",
]
PURE += ["addresses", "foreign", "journal_format", "subscription", "retry", "limiter", "candles", "clock", "master"]
PURE += ["session", "segments", "planner", "universe", "keystates", "life", "liveness", "habit", "market_info", "opens"]
EFFECTS = {"time", "socket", "asyncio", "logging", "os", "pathlib", "random", "threading", "psycopg", "aiohttp"}


def modules() -> list[Path]:
    return sorted(
        path
        for folder in ("ingest", "analytics", "sql")
        for path in (ROOT / folder).rglob("*.py")
        if not path.stem.endswith("_pb2")
    )


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def layer_of(name: str) -> int | None:
    return next((number for number, names in enumerate(LAYERS) if name in names), None)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_point_one_way(path: Path) -> None:
    package, *rest = path.relative_to(ROOT).with_suffix("").parts
    names = [name.split(".") for name in imports(path)]
    if package == "sql":
        assert not [name for name in names if name[0] in {"ingest", "analytics"}]
    elif package == "analytics":
        assert not [name for name in names if name[0] == "ingest"]
    elif rest[0] != "__init__":
        own = layer_of(rest[0])
        assert own is not None, f"ingest.{rest[0]} has no layer: add it to LAYERS"
        upward = {name[1] for name in names if name[0] == "ingest" and len(name) > 1 and (layer_of(name[1]) or 0) > own}
        assert not upward
        if rest[0] != "cli":
            assert not [name for name in names if name[0] == "analytics"]


@pytest.mark.parametrize("name", PURE)
def test_pure_module_touches_no_clock_socket_file_or_log(name: str) -> None:
    used = {module.split(".")[0] for module in imports(ROOT / "ingest" / f"{name}.py")}
    # These take a random.Random as an argument: the name is a type there.
    assert used & EFFECTS <= ({"random"} if name in {"retry", "life"} else set())


def test_engine_names_stay_in_the_database_room() -> None:
    naming = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.parts[-2] != "sql" and path.stem != "bench" and '"timescale"' in path.read_text(encoding="utf-8")
    ]
    assert naming == []
