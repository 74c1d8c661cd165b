"""Packages against the ranges that the program declares."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires, version

import pytest

from ingest.doctor.program import in_range, wanted_packages
from tests.data import REPOSITORY


@pytest.mark.parametrize(
    ("found", "ranges", "is_in"),
    [
        ("1.0", "", True),
        ("1.26.4", ">=1.26,<2", True),
        ("2", ">=1.26,<2", False),
        ("2.0.0", "<=2", True),
        ("2025.2", ">=2025.2", True),
        ("7.35.1", ">=7.35.1,<8", True),
        ("7.34", ">=7.35.1", False),
        ("1.4.5", "~=1.4.2", True),
        ("1.5", "~=1.4.2", False),
        ("1.4.2", "!=1.4.2", False),
        ("1.4.2", "==1.4.2", True),
        ("3.3.dev1", ">3.2", True),
    ],
)
def test_version_in_range(found: str, ranges: str, is_in: bool) -> None:
    assert in_range(found, ranges) is is_in


def test_every_requirement_of_the_project_is_understood() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = list(wanted_packages(project["dependencies"]))
    assert {"aiohttp", "psycopg", "websockets"} <= {name for name, _, _ in wanted}
    assert all(in_range(version(name), ranges) for name, ranges, _ in wanted if name != "backports-zstd")
    assert not any(in_range("0.0", ranges) for _, ranges, _ in wanted)


def test_packages_that_only_developing_needs_are_not_judged() -> None:
    """A new environment of Debian 12 has setuptools 66 of its own."""
    of_wheel = list(wanted_packages(requires("tickline") or ()))
    assert any(text.startswith("setuptools") for text in requires("tickline") or ())
    assert {"nicegui", "nats-py"} <= {name for name, _, is_extra in of_wheel if is_extra}
    assert not {"setuptools", "pytest"} & {name for name, _, _ in of_wheel}
