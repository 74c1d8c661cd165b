"""Checks of the program: Python, the packages, the decoder, and the user who runs it."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from ingest.decode.frames import DECODER
from ingest.doctor.findings import State, failure, fine, warning
from ingest.doctor.installation import Installation

NAME = "tickline"
PYTHON_MIN = (3, 11)
REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?")
RANGE = re.compile(r"\s*(>=|<=|==|!=|~=|<|>)\s*([\w.]+)\s*")
DEV_MARKER = re.compile(r"extra\s*==\s*['\"]dev['\"]")
PYTHON_MARKER = re.compile(r"python_version\s*(<|>=)\s*['\"](\d+)\.(\d+)['\"]")


def check_python(_: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the version of Python."""
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {NAME} {version(NAME)}"
    if sys.version_info[:2] < PYTHON_MIN:
        yield failure(said, f"install Python {'.'.join(map(str, PYTHON_MIN))} or newer")
    else:
        yield fine(said)


def check_packages(_: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the installed packages against the ranges that the program declares."""
    wrong, counted = [], 0
    for name, ranges, is_extra in wanted_packages(requires(NAME) or ()):
        try:
            found = version(name)
        except PackageNotFoundError:
            if not is_extra:
                wrong.append(f"{name} is missing")
            continue
        counted += 1
        if not in_range(found, ranges):
            wrong.append(f"{name} is {found}, wanted {ranges}")
    if wrong:
        yield failure("; ".join(wrong), f"install again: `pip install --upgrade {NAME}`")
    else:
        yield fine(f"{counted} packages, all in their ranges")


def check_decoder(_: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that frames are read by the compiled decoder."""
    if DECODER == "compiled":
        yield fine("compiled")
    else:
        yield warning(f"{DECODER}, many times slower than the compiled one", "install again with a C compiler")


def check_user(_: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the program does not run as root."""
    if os.geteuid() == 0:
        yield warning("root", "run Tickline as a user of its own")
    else:
        yield fine(f"user id {os.geteuid()}, not root")


def wanted_packages(requirements: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield name, ranges and whether it belongs to an extra, of the requirements that apply to this Python.

    What only developing needs is left out: an environment brings tools like setuptools of its own.

    >>> list(wanted_packages(["a<3,>=1.2", "b>=1; python_version < '3.0'", "c[x]>=2; extra == 'bench'"]))
    [('a', '<3,>=1.2', False), ('c', '>=2', True)]
    """
    for text in requirements:
        match = REQUIREMENT.match(text)
        assert match, text
        name, ranges, marker = match[1], match[2].strip(), match[3] or ""
        if name == NAME or DEV_MARKER.search(marker):
            continue
        if python := PYTHON_MARKER.search(marker):
            is_below = sys.version_info[:2] < (int(python[2]), int(python[3]))
            if is_below != (python[1] == "<"):
                continue
        yield name, ranges, "extra" in marker


def in_range(found: str, ranges: str) -> bool:
    """Return whether a version is in ranges, by the numbers of its release.

    >>> [in_range(one, ">=1.2,<2") for one in ("1.2", "1.10.post1", "1.1.9", "2.0", "2.0.0rc1")]
    [True, True, False, False, False]
    """
    release = _numbers(found)
    for part in ranges.split(","):
        if not (match := RANGE.fullmatch(part)):
            continue
        sign, bound = match[1], _numbers(match[2])
        width = max(len(release), len(bound))
        mine, its = (one + (0,) * (width - len(one)) for one in (release, bound))
        is_met = {
            ">=": mine >= its,
            "<=": mine <= its,
            ">": mine > its,
            "<": mine < its,
            "==": mine == its,
            "!=": mine != its,
            "~=": mine >= its and mine[: len(bound) - 1] == bound[:-1],
        }[sign]
        if not is_met:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()
