"""Breaks of a connection, told from the journal's records."""

from __future__ import annotations

import json

from ingest.listening import KILLED, Break, Listening
from ingest.model import Record, RecordKind


def take(listening: Listening, kind: RecordKind, us: int, reason: str = "") -> Break | None:
    payload = json.dumps({"code": 1006, "reason": reason}).encode()
    return listening.take(Record(kind, us, us, payload, us))


def test_first_connection_has_no_break_before_it() -> None:
    assert take(Listening(), RecordKind.CONNECTED, 5) is None


def test_break_lasts_from_the_last_frame_to_the_next_connection() -> None:
    listening = Listening()
    take(listening, RecordKind.CONNECTED, 5)
    take(listening, RecordKind.FRAME, 10)
    take(listening, RecordKind.FRAME, 20)
    assert take(listening, RecordKind.DISCONNECTED, 25, "no close frame") is None
    assert take(listening, RecordKind.CONNECTED, 90) == Break(20, 90, "no close frame")


def test_killed_process_leaves_no_word() -> None:
    listening = Listening()
    take(listening, RecordKind.FRAME, 20)
    assert take(listening, RecordKind.CONNECTED, 90) == Break(20, 90, KILLED)


def test_first_of_several_reasons_counts_and_is_used_once() -> None:
    listening = Listening()
    take(listening, RecordKind.FRAME, 20)
    take(listening, RecordKind.DISCONNECTED, 25, "journal: disk full")
    take(listening, RecordKind.DISCONNECTED, 60, "stopped")
    assert take(listening, RecordKind.CONNECTED, 90) == Break(20, 90, "journal: disk full")
    take(listening, RecordKind.FRAME, 95)
    assert take(listening, RecordKind.CONNECTED, 99) == Break(95, 99, KILLED)


def test_clock_that_stepped_back_gives_no_negative_break() -> None:
    listening = Listening(last_frame_us=100)
    assert take(listening, RecordKind.CONNECTED, 90) == Break(100, 100, KILLED)


def test_state_survives_dump() -> None:
    listening = Listening(20, "x")
    assert Listening(**listening.dump()) == listening
