"""Breaks of listening, told from the journal's records, by connections and by silence."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from ingest.decode.frames import decode_all
from ingest.journal.recording import read_recording
from ingest.model.findings import Break
from ingest.model.records import Record, RecordKind
from ingest.pipeline.breaks import KILLED, SILENT, SKIPPED, BreakDetector
from ingest.pipeline.decoded_records import DecodedRecords
from tests.data import data_file

FRAME = Record(RecordKind.FRAME, 1, 1, b"", 1)


def event(listening: BreakDetector, kind: RecordKind, reason: str = "") -> None:
    payload = json.dumps({"code": 1006, "reason": reason}).encode()
    assert listening.take(Record(kind, 1, 1, payload, 1), 0) is None


def dense(status: dict[str, int] | None = None, *, step_ms: int = 300) -> BreakDetector:
    """A feed that sent a frame every 300 ms from 0 to 30 s."""
    listening = BreakDetector()
    for ms in range(step_ms, 30_001, step_ms):
        assert listening.take(FRAME, ms, status=status if ms == step_ms else None) is None
    return listening


def test_first_connection_has_no_break_before_it() -> None:
    listening = BreakDetector()
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 5) is None


def test_break_lasts_from_the_last_frame_to_the_next_in_the_feeds_time() -> None:
    listening = BreakDetector()
    event(listening, RecordKind.CONNECTED)
    listening.take(FRAME, 10)
    listening.take(FRAME, 20)
    event(listening, RecordKind.DISCONNECTED, "no close frame")
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 95) == Break(20, 95, "no close frame")
    assert listening.take(FRAME, 96) is None


def test_killed_process_leaves_no_word() -> None:
    listening = BreakDetector()
    listening.take(FRAME, 20)
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 90) == Break(20, 90, KILLED)


def test_first_of_several_reasons_counts_and_is_used_once() -> None:
    listening = BreakDetector()
    listening.take(FRAME, 20)
    event(listening, RecordKind.DISCONNECTED, "journal: disk full")
    event(listening, RecordKind.DISCONNECTED, "stopped")
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 90) == Break(20, 90, "journal: disk full")
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 99) == Break(90, 99, KILLED)


def test_feed_time_that_stepped_back_gives_no_negative_break() -> None:
    listening = BreakDetector(last_ms=100)
    event(listening, RecordKind.CONNECTED)
    assert listening.take(FRAME, 90) == Break(100, 100, KILLED)


@pytest.mark.parametrize(
    ("listening", "pause_ms", "found"),
    [
        (dense(), 15_000, True),
        (dense(), 14_999, False),
        (dense({"NSE_FO": 2, "NSE_EQ": 3}), 15_000, True),
        (dense({"NSE_FO": 3}), 15_000, False),  # the feed has said that the market is closed
        (dense(step_ms=1_000), 60_000, False),  # thirty frames do not show how dense a feed is
        (BreakDetector(last_ms=30_000, pace_ms=1_000, frames=50), 29_999, False),
        (BreakDetector(last_ms=30_000, pace_ms=1_000, frames=50), 30_000, True),
    ],
)
def test_silence_of_a_dense_feed_in_an_open_market_is_a_break(
    listening: BreakDetector, pause_ms: int, found: bool
) -> None:
    expected = Break(30_000, 30_000 + pause_ms, SILENT) if found else None
    assert listening.take(FRAME, 30_000 + pause_ms) == expected


def test_feed_that_is_late_and_then_skips_is_a_break_of_the_time_skipped() -> None:
    listening = dense()
    for ms in range(30_300, 60_000, 300):  # every trade is 20 s old
        assert listening.take(FRAME, ms, ms - 20_000) is None
    assert listening.take(FRAME, 60_000, 59_900) == Break(39_700, 60_000, SKIPPED)
    assert listening.take(FRAME, 60_300, 60_200) is None


def test_trade_after_a_pause_of_an_idle_market_is_no_break() -> None:
    listening = dense()
    for ms in range(30_300, 60_000, 300):
        assert listening.take(FRAME, ms, 30_000) is None  # quotes, and the same old trade
    assert listening.take(FRAME, 60_000, 59_900) is None


def test_recorded_session_has_the_outages_that_are_known_and_more() -> None:
    recorded = [frame.payload for frame in read_recording(data_file("session-20251215-open.frames.gz"))]
    frames = decode_all(recorded)
    reading = DecodedRecords("", [FRAME] * len(frames), frames, 0, 0)
    listening, india = BreakDetector(), timezone(timedelta(hours=5, minutes=30))
    breaks = map(listening.take, reading.records, reading.current_ms, reading.trade_ms)
    found = [
        (f"{datetime.fromtimestamp(one.started_ms / 1000, india):%H:%M:%S}", (one.ended_ms - one.started_ms) // 1000)
        for one in breaks
        if one
    ]
    # 10:56 is shorter than those that are known. At 15:07 trades came 8 s to 38 s late, then those of 38 s not at
    # all. At 15:27 the feed came back 74 s late, and at 15:28:17 went on in the present. The last is after
    # the close, when only shares were still traded.
    assert found == [
        ("10:56:06", 39), ("10:57:56", 124), ("11:02:55", 91), ("15:07:20", 38), ("15:26:23", 74), ("15:26:35", 101),
        ("15:28:37", 47), ("15:30:35", 29),
    ]  # fmt: skip


def test_state_survives_dump() -> None:
    listening = dense({"NSE_FO": 2})
    assert BreakDetector(**listening.dump()) == listening  # type: ignore[arg-type]
