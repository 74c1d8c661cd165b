"""How checks are run: each is a line whatever it does."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ingest.doctor.findings import BUSY, Check, Finding, State, examine, fine
from ingest.doctor.installation import Installation, NotCheckedError
from ingest.errors import ConfigError

Found = Iterable[tuple[State, str, str]]


def test_each_check_is_a_line_in_its_order_whatever_it_does() -> None:
    hangs = threading.Event()

    def waits(_: Installation) -> Found:
        hangs.wait(60)
        yield fine("late")

    def is_ours(_: Installation) -> Found:
        yield fine("first")
        raise ConfigError("setting X has the wrong value 'a: b': write c")

    def is_a_bug(_: Installation) -> Found:
        raise ZeroDivisionError("line one\nline two")

    def cannot(_: Installation) -> Found:
        raise NotCheckedError("there is no y")

    checks = [Check("a", waits, 0.05), Check("b", is_ours), Check("c", is_a_bug), Check("d", cannot)]
    installation = Installation(lambda _: None)
    try:
        found = list(examine(installation, checks))
    finally:
        hangs.set()
        installation.close()
    assert found == [
        Finding("a", State.FAILURE, "no answer within 0.05 s", BUSY),
        Finding("b", State.OK, "first"),
        Finding("b", State.FAILURE, "setting X has the wrong value 'a: b'", "write c"),
        Finding("c", State.FAILURE, "the check failed, ZeroDivisionError: line one", "report it"),
        Finding("d", State.WARNING, "not checked: there is no y"),
    ]
