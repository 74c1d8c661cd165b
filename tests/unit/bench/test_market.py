from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from ingest.bench.feed_server import DAY_MS, later
from ingest.bench.market import ZONE, make_market
from ingest.decode.frames import decode_all
from ingest.journal.recording import read_recording


@pytest.mark.parametrize("frame_ticks", [[1], [3], [1, 2, 3, 4]])
def test_market_has_the_ticks_and_frames_asked_for(tmp_path: Path, frame_ticks: list[int]) -> None:
    market = make_market(tmp_path / "a", ticks=2_000, instruments=100, frame_ticks=frame_ticks)
    frames = decode_all([frame.payload for frame in read_recording(market.recording)])
    sizes = (frames.ends[1:] - frames.ends[:-1]).tolist()
    assert (len(frames.updates), len(frames), frames.errors) == (market.ticks, market.frames, {})
    assert market.ticks == 2_000
    assert set(sizes[:-1]) <= set(range(1, max(frame_ticks) + 1))
    assert market.ticks_per_frame > 0.95 * sum(frame_ticks) / len(frame_ticks)  # few frames are cut short
    assert set(frames.updates.keys) <= set(market.keys)
    assert frames.current_ms.tolist() == sorted(frames.current_ms.tolist())


def test_market_that_opens_before_midnight_ends_on_the_same_day(tmp_path: Path) -> None:
    opens = datetime(2026, 1, 5, 23, 58, tzinfo=ZONE)
    market = make_market(tmp_path / "a", ticks=500, instruments=50, frame_ticks=[10], opens=opens)
    times = [frame.received_ms for frame in read_recording(market.recording)]
    days = {datetime.fromtimestamp(ms / 1000, ZONE).date() for ms in times}
    assert days == {opens.date()}


def test_frame_of_a_later_day_differs_in_its_times_only(tmp_path: Path) -> None:
    market = make_market(tmp_path / "a", ticks=2_000, instruments=50, frame_ticks=[10])
    payloads = [frame.payload for frame in read_recording(market.recording)]
    before, after = decode_all(payloads), decode_all([later(payload, 2) for payload in payloads])
    assert (after.current_ms - before.current_ms == 2 * DAY_MS).all()
    for index in range(len(payloads)):
        one, other = before.part(index, index + 1).updates, after.part(index, index + 1).updates
        updates = {key: one.one(place) for place, key in enumerate(one.keys)}
        for place, key in enumerate(other.keys):
            was, is_now = updates[key], other.one(place)
            assert is_now.ltt_ms == (was.ltt_ms + 2 * DAY_MS if was.ltt_ms else 0)
            assert is_now.day_candle is None or is_now.day_candle[0] == (was.day_candle or (0,))[0] + 2 * DAY_MS
            assert is_now._replace(ltt_ms=0, day_candle=None) == was._replace(ltt_ms=0, day_candle=None)
