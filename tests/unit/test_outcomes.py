"""The table of a long run."""

from __future__ import annotations

from typing import Literal

from pytest import TestReport

from tests.outcomes import table_of

KILLED, CUT = "tests/fault/test_sigkill.py::test_killed[soak-postgres]", "tests/db/test_cut.py::test_cut"


def report(nodeid: str, when: Literal["setup", "call", "teardown"], seconds: float, **figures: object) -> TestReport:
    properties = list(figures.items())
    return TestReport(nodeid, ("", 0, ""), {}, "passed", None, when, duration=seconds, user_properties=properties)


def test_table_has_each_test_once_by_file_with_all_its_time_and_figures() -> None:
    reports = [
        ("", report(KILLED, "setup", 2.0)),
        ("passed", report(KILLED, "call", 300.0, ticks=209_928)),
        ("", report(KILLED, "teardown", 1.5, ticks=209_928)),
        ("", report(CUT, "setup", 0.0)),
        ("passed", report(CUT, "call", 1.0, worst_s=0.25)),
        ("error", report(CUT, "teardown", 0.0)),
    ]
    assert table_of(reports) == [
        "",
        "tests/db/test_cut.py",
        "  error        1.0 s  test_cut",
        "                      worst_s 0.25",
        "",
        "tests/fault/test_sigkill.py",
        "  passed     303.5 s  test_killed[soak-postgres]",
        "                      ticks 209,928",
        "",
        "1 error, 1 passed in 304 s",
    ]


def test_table_of_no_test_is_empty() -> None:
    assert table_of([]) == []
