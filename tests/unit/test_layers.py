"""Imports point one way only, by the tables in `ingest/README.md` and `analytics/README.md`."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.data import REPOSITORY

# What every room may import, unless its row says "nothing" or "only".
COMMON = {
    "ingest": {"ingest.errors", "ingest.redaction", "ingest.market", "ingest.model"},
    "analytics": {"ingest.errors"},
}
PURE_ROOMS = ("decode", "normalise", "market", "model")
EFFECTS = {"time", "socket", "asyncio", "logging", "os", "pathlib", "random", "threading", "psycopg", "aiohttp"}
FILES_MAX = 14  # modules or queries in a folder
FLOORS_MAX = 10

Graph = dict[str, set[str]]


def named(cell: str) -> list[str]:
    """Names in backticks, without what says that one is a file or a folder."""
    return [name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", cell)]


def room_name(package: str, name: str) -> str:
    """A room of a table as a module: `feed/` is `ingest.feed`, `ingest.database` stays."""
    return name if name.startswith(("ingest.", "analytics")) else f"{package}.{name}"


def rows_of(package: str) -> list[list[str]]:
    """The rows of a package's import table: its first column, and its last."""
    text = (REPOSITORY / package / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Who may import whom\n", 1)[1].split("\n## ", 1)[0]
    lines = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cells[0], cells[-1]] for cells in lines[2:]]


@cache
def allowed() -> Graph:
    """Room -> the rooms that it may import, as the READMEs say."""
    found: Graph = {}
    for package, common in COMMON.items():
        for rooms, cell in rows_of(package):
            is_all = cell.strip().startswith(("nothing", "only"))
            others = {room_name(package, name) for name in named(cell)} | (set() if is_all else common)
            found |= {room_name(package, name): others for name in named(rooms)}
    return found


@cache
def modules() -> list[Path]:
    return sorted(
        path for package in COMMON for path in (REPOSITORY / package).rglob("*.py") if not path.stem.endswith("_pb2")
    )


@cache
def imports(text: str) -> list[str]:
    """Every module or name that a text imports, in full."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@cache
def room_of(module: str) -> str:
    """`ingest.journal.folder.JournalLock` -> `ingest.journal`; the public names of `analytics` are all one room."""
    package, name, *_ = [*module.split("."), "", ""]
    return f"{package}.{name}" if f"{package}.{name}" in allowed() else package


def foreign_rooms(path: Path, text: str) -> set[str]:
    """The rooms of ours that a module imports, but its own."""
    own = room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    return {room_of(name) for name in imports(text) if name.split(".")[0] in COMMON} - {own}


def forbidden(path: Path, text: str) -> set[str]:
    """The rooms that a module imports although its row does not allow it."""
    own = room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    if own not in allowed():
        assert path.name == "__init__.py", f"{own} has no row in the table of {path.parts[-2]}: add it to the README"
        return set()  # the front of a package shows what is in its rooms
    return foreign_rooms(path, text) - allowed()[own]


def test_modules_import_what_the_row_of_their_room_allows() -> None:
    found = {str(path.relative_to(REPOSITORY)): forbidden(path, path.read_text(encoding="utf-8")) for path in modules()}
    assert {path: rooms for path, rooms in found.items() if rooms} == {}


@pytest.mark.parametrize(
    ("module", "line", "room"),
    [
        ("ingest/journal/reader.py", "from ingest.store.writer import Writer", "ingest.store"),
        ("ingest/normalise/trade_rules.py", "from ingest.decode import frames", "ingest.decode"),
        ("analytics/factors/indicators.py", "import ingest.database.queries", "ingest.database"),
        ("ingest/feed/connection.py", "from ingest.pipeline.consumer import Consumer", "ingest.pipeline"),
    ],
)
def test_import_that_no_row_allows_is_found(module: str, line: str, room: str) -> None:
    path = REPOSITORY / module
    assert forbidden(path, f"{path.read_text(encoding='utf-8')}\n{line}\n") == {room}


@cache
def floors() -> dict[str, int]:
    """Room -> its floor: one above the highest room that it may import."""
    found: dict[str, int] = {}
    left = {room: others & set(allowed()) for room, others in allowed().items()}
    while left:
        ready = {room for room, others in left.items() if others <= set(found)}
        assert ready, f"a circle among {sorted(left)}"
        found |= {room: 1 + max((found[other] for other in left[room]), default=0) for room in ready}
        left = {room: others for room, others in left.items() if room not in ready}
    return found


def test_rooms_have_no_circle_and_few_floors() -> None:
    assert max(floors().values()) <= FLOORS_MAX


def test_imports_point_one_way() -> None:
    """Down: no room has a later one's code, whoever may import whom."""
    found: Graph = {}
    for path in modules():
        own = room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
        if own in floors():  # not the front of a package
            rooms = foreign_rooms(path, path.read_text(encoding="utf-8")) & set(floors())
            found[str(path.relative_to(REPOSITORY))] = {room for room in rooms if floors()[room] >= floors()[own]}
    assert {path: rooms for path, rooms in found.items() if rooms} == {}


def test_modules_of_a_room_have_no_circle() -> None:
    graph: Graph = {}
    for path in modules():
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = {_module_of(found) for found in imports(path.read_text(encoding="utf-8"))}
    while graph:
        ready = {name for name, others in graph.items() if not (others - {name}) & set(graph)}
        assert ready, f"a circle among {sorted(graph)}"
        graph = {name: others for name, others in graph.items() if name not in ready}


@cache
def _module_of(name: str) -> str:
    """The module that holds an imported name."""
    path = REPOSITORY / name.replace(".", "/")
    is_module = path.with_suffix(".py").exists() or (path / "__init__.py").exists()
    return name if is_module else name.rpartition(".")[0]


@pytest.mark.parametrize(
    "path",
    [path for path in modules() if path.parent.name in PURE_ROOMS]
    + [
        REPOSITORY / "ingest" / f"{name}.py"
        for name in named(
            (REPOSITORY / "ingest" / "README.md")
            .read_text(encoding="utf-8")
            .split("files of other rooms:", 1)[1]
            .split("\n\n", 1)[0]
        )
    ],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_pure_module_touches_no_clock_socket_file_or_log(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
    # These take a random.Random as an argument: the name is a type there.
    assert used & EFFECTS <= ({"random"} if path.stem in {"backoff", "lifecycle"} else set())


def test_engine_names_stay_in_the_database_room() -> None:
    naming = [
        str(path.relative_to(REPOSITORY))
        for path in modules()
        if "database" not in path.parts and "bench" not in path.parts and '"timescale"' in path.read_text("utf-8")
    ]
    assert naming == []


def test_no_folder_holds_more_than_can_be_taken_in_at_a_look() -> None:
    crowded = {}
    for package in (*COMMON, "sql"):
        for folder in [path for path in (REPOSITORY / package).rglob("*") if path.is_dir() and "ddl" not in path.parts]:
            files = [
                path
                for path in folder.iterdir()
                if path.suffix in {".py", ".sql"} and path.name != "__init__.py" and "_pb2" not in path.name
            ]
            if len(files) > FILES_MAX:
                crowded[str(folder.relative_to(REPOSITORY))] = len(files)
    assert crowded == {}


def test_tables_allow_nothing_that_no_module_needs() -> None:
    needed: Graph = {}
    for path in modules():
        own = room_of(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
        needed[own] = needed.get(own, set()) | foreign_rooms(path, path.read_text(encoding="utf-8"))
    for room, others in allowed().items():
        assert others - COMMON[room.split(".")[0]] <= needed.get(room, set()), room
