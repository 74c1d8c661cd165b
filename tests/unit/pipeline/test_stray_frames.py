"""The feed's clock: a frame whose time is not its own is told by its neighbours, however they were read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decode.frames import decode_all
from ingest.model.records import Record, RecordKind
from ingest.pipeline.decoded_records import DecodedRecords
from ingest.pipeline.stray_frames import DEPARTS_MS, StrayFilter
from ingest.proto import upstox_feed_v3_pb2 as pb

BEGIN_MS = 1_765_771_374_837
FAR_MS = 10 * DEPARTS_MS


def reading(times: list[tuple[int, int]], first: int = 0) -> DecodedRecords:
    """Frames with one update each, at their own time and at ours."""
    payloads = []
    for current_ms, _ in times:
        message = pb.FeedResponse(type=pb.live_feed, currentTs=current_ms)
        message.feeds["NSE_FO|1"].ltpc.ltp = 1.0
        payloads.append(message.SerializeToString())
    records = [
        Record(RecordKind.FRAME, first + number, received_ms * 1000, payload, 0)
        for number, ((_, received_ms), payload) in enumerate(zip(times, payloads, strict=True))
    ]
    return DecodedRecords("", records, decode_all(payloads), 0, first - 1)


def strays(times: list[tuple[int, int]], cuts: list[int], last: tuple[int, int] | None = None) -> list[int]:
    """The frames that are not believed, when they are read in parts."""
    clock, given_back = StrayFilter(last), []
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(times)}), len(times)]
    for start, stop in pairwise(bounds):
        clock.add(reading(times[start:stop], start))
        if read := clock.judged(final=False):
            given_back.append(read)
    while read := clock.judged(final=True):
        given_back.append(read)
    frames = [read.records[0].seq + index for read in given_back for index in range(len(read.records))]
    assert frames == list(range(len(times)))
    for read in given_back:
        assert len(read.frames.updates) == len(read.records) - len(read.frames.errors)
        assert all((ms == 0) == (index in read.frames.errors) for index, ms in enumerate(read.current_ms))
    return [read.records[index].seq for read in given_back for index in read.frames.errors]


def line(count: int, *, step_ms: int = 300, received_step_ms: int = 300, offset_ms: int = 0) -> list[tuple[int, int]]:
    return [(BEGIN_MS + n * step_ms, BEGIN_MS + offset_ms + n * received_step_ms) for n in range(count)]


def moved(times: list[tuple[int, int]], by_ms: int, *indices: int) -> list[tuple[int, int]]:
    return [(ms + by_ms * (n in indices), received_ms) for n, (ms, received_ms) in enumerate(times)]


YEAR_MS = 31_536_000_000
CASES = {
    "even": (line(20), []),
    "constant_offset": (line(20, offset_ms=YEAR_MS), []),
    "one_ahead": (moved(line(20), FAR_MS, 7), [7]),
    "one_back": (moved(line(20), -FAR_MS, 7), [7]),
    "one_in_a_recording_played_years_later": (moved(line(20, offset_ms=YEAR_MS), FAR_MS, 7), [7]),
    "one_in_a_recording_played_at_once": (moved(line(20, received_step_ms=0, offset_ms=YEAR_MS), FAR_MS, 7), [7]),
    "the_first": (moved(line(20), FAR_MS, 0), [0]),
    "two_together": (moved(line(20), FAR_MS, 7, 8), [7, 8]),
    "within_the_tolerance": (moved(line(20), DEPARTS_MS - 1_000, 7), []),
    "a_step_that_stays": (moved(line(20), FAR_MS, *range(7, 20)), []),
    "a_step_back_that_stays": (moved(line(20), -FAR_MS, *range(7, 20)), []),
    "a_step_with_a_stray_behind_it": (moved(moved(line(20), FAR_MS, *range(7, 20)), FAR_MS, 8), [8]),
    "silence": (line(2) + [(ms + FAR_MS, ours + FAR_MS) for ms, ours in line(20)], []),
    "silence_in_a_recording_played_at_once": (
        line(2, received_step_ms=0) + [(ms + FAR_MS, ours) for ms, ours in line(20, received_step_ms=0)],
        [],
    ),
    "played_so_fast_that_each_frame_departs": (line(20, step_ms=FAR_MS, received_step_ms=1, offset_ms=YEAR_MS), []),
    "the_last_without_a_witness": (moved(line(20), FAR_MS, 19), []),
    "alone": (line(1, offset_ms=YEAR_MS), []),
}


@pytest.mark.parametrize(("times", "expected"), CASES.values(), ids=CASES)
@given(cuts=st.lists(st.integers(1, 21), max_size=8))
def test_clock_finds_the_strays_however_the_frames_are_read(
    times: list[tuple[int, int]], expected: list[int], cuts: list[int]
) -> None:
    assert strays(times, cuts) == expected


@given(
    altered=st.dictionaries(st.integers(0, 39), st.integers(-FAR_MS, FAR_MS), max_size=12),
    cut=st.integers(1, 39),
    cuts=st.lists(st.integers(1, 39), max_size=5),
)
def test_clock_taken_up_at_any_frame_judges_the_rest_the_same(
    altered: dict[int, int], cut: int, cuts: list[int]
) -> None:
    """As a restart does, from the last frame that was believed before."""
    times = [(ms + altered.get(n, 0), ours) for n, (ms, ours) in enumerate(line(40))]
    found = strays(times, cuts)
    believed = [n for n in range(cut) if n not in found]
    last = times[believed[-1]] if believed else None
    if last is None:
        return  # nothing was believed: a restart begins where the stream did
    rest = [number - cut for number in found if number >= cut]
    assert strays(times[cut:], [], last) == rest
