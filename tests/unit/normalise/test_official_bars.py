"""Official bars out of the candle I1, and the times of which we did not hear all."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as vendor

from ingest.decode.frames import decode_all
from ingest.journal.recording import read_recording
from ingest.model.findings import OfficialBar
from ingest.model.ticks import InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.row_buffer import RowBuffer
from tests.data import data_file

KEY, INDEX = "NSE_FO|60166", "NSE_INDEX|Nifty 50"
OPEN_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
SESSION = "session-20251215-open.frames.gz"
GOOD = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "vol": 75}


def normaliser() -> Normaliser:
    found = Normaliser()
    found.learn([InstrumentRef(1, KEY), InstrumentRef(2, INDEX)])
    return found


def frame(current_ms: int, *candles: dict[str, Any], key: str = KEY) -> bytes:
    response = vendor.FeedResponse(type=vendor.live_feed, currentTs=current_ms)
    full = response.feeds[key].fullFeed
    response.feeds[key].requestMode = vendor.full_d5
    kind = full.indexFF if key == INDEX else full.marketFF
    kind.ltpc.ltp, kind.ltpc.ltt = 100.0, current_ms - 500
    if key != INDEX:
        kind.vtt = 500
    for candle in candles:
        kind.marketOHLC.ohlc.add(**candle)
    return response.SerializeToString()


def apply(to: Normaliser, *payloads: bytes) -> Normaliser:
    frames = decode_all(list(payloads))
    to.apply(frames, seq=np.arange(len(payloads)), received_us=np.arange(len(payloads)))
    return to


def minute(number: int, **given: Any) -> dict[str, Any]:
    return GOOD | {"interval": "I1", "ts": OPEN_MS + number * 60_000} | given


def test_candle_is_found_by_its_interval_wherever_it_stands() -> None:
    day = GOOD | {"interval": "1d", "ts": OPEN_MS - 555 * 60_000}
    other = GOOD | {"interval": "I30", "ts": OPEN_MS}
    for candles in ([day, minute(0)], [minute(0), day], [other, day, minute(0)]):
        found = apply(normaliser(), frame(OPEN_MS + 61_000, *candles)).official
        assert found == [OfficialBar(1, OPEN_MS, 100.0, 101.0, 99.0, 100.5, 75, 0)]


def test_bar_is_taken_once_however_often_it_comes_and_however_reads_are_cut() -> None:
    frames = [frame(OPEN_MS + 61_000 + ms, minute(0)) for ms in range(0, 3_000, 500)]
    frames += [frame(OPEN_MS + 122_000, minute(1)), frame(OPEN_MS + 122_500, minute(0, close=99.5))]
    for cut in range(len(frames) + 1):
        given = apply(normaliser(), *frames[:cut]) if cut else normaliser()
        given = apply(reloaded(given), *frames[cut:]) if cut < len(frames) else given
        assert [(bar.bucket_ms - OPEN_MS, bar.close) for bar in given.official] == [(0, 100.5), (60_000, 100.5)]


def reloaded(given: Normaliser) -> Normaliser:
    """The same after a checkpoint."""
    found = Normaliser.load(given.dump())
    found.official = given.official
    return found


@pytest.mark.parametrize(
    "odd",
    [
        {"ts": OPEN_MS + 1}, {"ts": OPEN_MS + 60_000}, {"ts": 2**60}, {"low": 100.2}, {"high": 100.2}, {"low": 0.0},
        {"close": float("nan")}, {"high": float("inf")}, {"vol": -1}, {"vol": 2**60},
    ],
)  # fmt: skip
def test_candle_that_cannot_be_is_counted_and_does_not_stand_in_the_way(odd: dict[str, Any]) -> None:
    given = apply(normaliser(), frame(OPEN_MS + 61_000, minute(0, **odd)))
    assert (given.official, given.counts["odd_candles"]) == ([], 1)
    apply(given, frame(OPEN_MS + 62_000, minute(0)))
    assert [bar.bucket_ms for bar in given.official] == [OPEN_MS]


def test_candle_without_volume_is_a_bar_of_an_index_only() -> None:
    given = apply(normaliser(), frame(OPEN_MS + 61_000, minute(0, vol=0)))
    assert (given.official, given.counts["odd_candles"]) == ([], 0)
    apply(given, frame(OPEN_MS + 61_000, minute(0, vol=0), key=INDEX))
    assert [(bar.instrument_id, bar.volume) for bar in given.official] == [(2, None)]


def fed(numbers: list[int], fillers: set[int], *, cut: int = 0, price: float | None = None) -> Normaliser:
    """A normaliser that was sent a candle for each of these minutes, in the minute behind it, in two batches."""
    filler = {"vol": 0} | (dict.fromkeys(("open", "high", "low", "close"), price) if price is not None else {})
    frames = [
        frame(OPEN_MS + (number + 1) * 60_000 + 500, minute(number, **(filler if number in fillers else {})))
        for number in numbers
    ]
    given = apply(normaliser(), *frames[:cut]) if cut else normaliser()
    unheard = given.unheard
    given = apply(reloaded(given), *frames[cut:])
    given.unheard = [one for one in unheard + given.unheard if one.started_ms != one.ended_ms]  # not that we began
    return given


@pytest.mark.parametrize("cut", range(6))
@pytest.mark.parametrize("price", [None, 0.0, 99.5, float("nan")])
def test_filler_where_a_bar_is_usual_marks_its_minute_and_the_one_before(cut: int, price: float | None) -> None:
    given = fed([0, 1, 2, 3, 4, 5], {4}, cut=cut, price=price)
    assert [(bar.bucket_ms - OPEN_MS) // 60_000 for bar in given.official] == [0, 1, 2, 3, 5]
    assert given.unheard == [(1, OPEN_MS + 180_000, OPEN_MS + 240_000, False)]


def test_fillers_of_what_seldom_trades_mark_nothing_and_so_do_those_of_a_long_silence() -> None:
    assert fed([*range(12)], {0, 2, 3, 5, 6, 8, 9, 11}).unheard == []
    assert len(fed([*range(20)], {*range(4, 20)}).unheard) == 1
    assert len(fed([*range(60)], {*range(31, 60)}).unheard) == 10


def test_bar_that_comes_behind_the_filler_of_its_minute_is_taken() -> None:
    late = [frame(OPEN_MS + 61_000 + ms, minute(0, vol=volume)) for ms, volume in ((0, 0), (500, 0), (900, 75))]
    assert [bar.volume for bar in apply(normaliser(), *late).official] == [75]
    given = normaliser()
    for one in late:
        apply(given, one)
    assert [bar.volume for bar in given.official] == [75]


def test_recorded_session_gives_the_vendors_bars_each_once() -> None:
    given, ids, recorded = Normaliser(), dict[str, int](), list(read_recording(data_file(SESSION)))
    for start in range(0, len(recorded), 777):
        part = recorded[start : start + 777]
        frames = decode_all([one.payload for one in part])
        for key in given.unknown(frames):
            ids[key] = len(ids) + 1
            given.learn([InstrumentRef(ids[key], key)])
        rows = RowBuffer(len(frames.updates))
        rows.extend(given.apply(frames, seq=np.arange(len(part)), received_us=np.zeros(len(part))))
    with data_file("session-20251215-open.i1.csv").open() as file:
        truth = sorted(
            (
                ids[row["instrument_key"]], int(row["minute_ms"]), float(row["open"]), float(row["high"]),
                float(row["low"]), float(row["close"]), int(row["volume"]),
            )
            for row in csv.DictReader(file)
        )  # fmt: skip
    assert sorted(tuple(bar[:7]) for bar in given.official) == truth


def test_first_update_begins_a_partial_minute_and_later_ones_nothing() -> None:
    given = apply(normaliser(), frame(OPEN_MS + 61_000), frame(OPEN_MS + 62_000))
    assert given.unheard == [(1, OPEN_MS + 61_000, OPEN_MS + 61_000, False)]


def test_interruption_is_a_gap_until_each_instrument_is_heard_again() -> None:
    given = apply(normaliser(), frame(OPEN_MS), frame(OPEN_MS, key=INDEX))
    given.forget_findings()
    given.interrupt(at_ms=OPEN_MS + 1_000)
    given.interrupt(at_ms=OPEN_MS + 9_000)  # nothing was heard between: the gap began at the first
    apply(given, frame(OPEN_MS + 70_000))
    apply(given, frame(OPEN_MS + 80_000, key=INDEX))
    assert given.unheard == [(1, OPEN_MS + 1_000, OPEN_MS + 70_000, True), (2, OPEN_MS + 1_000, OPEN_MS + 80_000, True)]


def test_stop_on_purpose_makes_partial_minutes_and_no_gap() -> None:
    given = apply(normaliser(), frame(OPEN_MS))
    given.forget_findings()
    given.stop(at_ms=OPEN_MS + 1_000)
    given.interrupt(at_ms=OPEN_MS + 1_000)
    apply(Normaliser.load(given.dump()), frame(OPEN_MS + 70_000))
    apply(given, frame(OPEN_MS + 70_000))
    assert given.unheard == [(1, OPEN_MS + ms, OPEN_MS + ms, False) for ms in (1_000, 70_000)]
