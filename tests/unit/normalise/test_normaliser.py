"""Normalise: each row of its table of judgements, and what partial frames leave unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.market.time import DAY_MS
from ingest.model.findings import HELD_BACK
from ingest.model.frames import FrameType, Mode
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.row_buffer import RowBuffer
from tests.unit.decode_oracle import Frame
from tests.unit.normalise.updates import GREEKS, INDEX, KEY, OPEN_MS, Stream, null, update
from tests.unit.oracle import frames_of


def test_first_update_of_a_running_day_is_a_snapshot_not_a_trade() -> None:
    row = Stream()(update(vtt=500))
    assert row["traded"] == 0
    assert row["vtt"] == 500
    assert null(row["volume"])
    assert row["ts"] == (OPEN_MS + 200) * 1000


def test_vtt_step_is_a_trade_with_that_volume_at_its_ltt() -> None:
    stream = Stream()
    stream(update(vtt=500))
    row = stream(update(vtt=650, ltt_ms=OPEN_MS + 1000))
    assert (row["traded"], row["volume"], row["vtt"]) == (1, 150, 650)
    assert row["ts"] == (OPEN_MS + 1000) * 1000
    assert row["ltt"] == row["ts"]


def test_same_vtt_is_a_quote_at_the_frames_time() -> None:
    stream = Stream()
    stream(update(vtt=500))
    row = stream(update(vtt=500), OPEN_MS + 900)
    assert (row["traded"], row["volume"]) == (0, 0)
    assert row["ts"] == (OPEN_MS + 900) * 1000


def test_vtt_step_with_the_same_ltt_is_a_trade() -> None:
    stream = Stream()
    stream(update(vtt=500))
    assert stream(update(vtt=501))["volume"] == 1


def test_update_from_before_the_days_first_trade_that_comes_behind_it_brings_no_older_volume() -> None:
    stream = Stream()
    yesterday_ms = OPEN_MS - DAY_MS + 1
    stream(update(ltt_ms=yesterday_ms, vtt=26_490), current_ms=OPEN_MS - 100)
    assert stream(update(vtt=403))["volume"] == 403
    row = stream(update(ltt_ms=yesterday_ms, vtt=26_490), current_ms=OPEN_MS + 300)
    assert (row["traded"], row["volume"], null(row["vtt"])) == (0, 0, True)
    assert stream(update(ltt_ms=OPEN_MS + 400, vtt=500))["volume"] == 97


def test_backward_ltt_is_kept_as_a_quote_and_moves_nothing() -> None:
    stream = Stream()
    stream(update(vtt=500, ltt_ms=OPEN_MS + 5000))
    row = stream(update(vtt=450, ltt_ms=OPEN_MS + 4000), OPEN_MS + 5200)
    assert (row["traded"], row["vtt"], row["ltt"]) == (0, 450, (OPEN_MS + 4000) * 1000)
    assert stream.normaliser.counts["backward"] == 1
    assert stream(update(vtt=510, ltt_ms=OPEN_MS + 6000))["volume"] == 10


def test_interrupted_key_only_is_a_snapshot() -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt([INDEX])
    assert stream(update(vtt=600, ltt_ms=OPEN_MS + 90_000))["volume"] == 100


def test_index_trades_when_ltt_or_ltp_changes_and_has_no_volume() -> None:
    stream = Stream()
    index = update(INDEX, depth=None)
    assert stream(index)["traded"] == 0
    assert stream(index, OPEN_MS + 500)["traded"] == 0
    row = stream(index._replace(ltp=101.0))
    assert row["traded"] == 1
    assert null(row["volume"])
    assert null(row["vtt"])
    assert null(row["ltq"])
    assert null(row["bid"])
    assert stream(index._replace(ltp=101.0, ltt_ms=OPEN_MS + 1000))["traded"] == 1
    assert stream(index._replace(ltp=101.0, ltt_ms=OPEN_MS), OPEN_MS + 2000)["traded"] == 0


def test_ltpc_mode_trades_by_ltt_and_says_nothing_else() -> None:
    stream = Stream()
    ltpc = update(mode=Mode.LTPC, depth=None)
    stream(ltpc)
    row = stream(ltpc._replace(ltt_ms=OPEN_MS + 100))
    assert row["traded"] == 1
    assert all(null(row[name]) for name in ("volume", "vtt", "oi", "bid", "ask", "delta", "day_open"))


def test_groups_not_sent_keep_their_last_value() -> None:
    stream = Stream()
    stream(update(vtt=500, oi=70.0, iv=0.2, atp=99.5, greeks=GREEKS, day_candle=(OPEN_MS, 97.0, 103.0, 96.0)))
    row = stream(update(vtt=510, depth=None, prev_close=0.0))
    assert (row["bid"], row["ask_qty"], row["tbq"]) == (99.0, 20, 1000.0)
    assert (row["oi"], row["iv"], row["atp"], row["prev_close"]) == (70, 0.2, 99.5, 98.0)
    assert (row["delta"], row["gamma"], row["theta"], row["vega"], row["rho"]) == GREEKS
    assert (row["day_open"], row["day_high"], row["day_low"]) == (97.0, 103.0, 96.0)


def test_frame_without_ltpc_keeps_the_last_trade() -> None:
    stream = Stream()
    stream(update(vtt=500))
    row = stream(update(ltp=0.0, ltt_ms=0, ltq=0, depth=(98.0, 1, 102.0, 2, 3.0, 4.0)), OPEN_MS + 700)
    assert (row["ltp"], row["ltt"], row["traded"], row["bid"]) == (100.0, OPEN_MS * 1000, 0, 98.0)


def test_empty_update_makes_no_row() -> None:
    stream = Stream()
    empty = update(ltp=0.0, ltt_ms=0, ltq=0, depth=None, prev_close=0.0)
    assert stream(empty, OPEN_MS) is None
    assert stream.normaliser.counts["empty"] == 1


def test_absent_fields_of_an_equity_are_null_never_zero() -> None:
    row = Stream()(update(vtt=500))
    assert all(null(row[name]) for name in ("oi", "iv", "atp", "delta", "gamma", "theta", "vega", "rho", "day_open"))


def test_empty_side_of_the_book_has_no_price_and_no_quantity() -> None:
    row = Stream()(update(vtt=500, depth=(0.0, 0, 101.0, 20, 0.0, 2000.0)))
    assert null(row["bid"])
    assert (row["bid_qty"], row["tbq"]) == (0, 0)


def test_mode_change_forgets_what_the_new_mode_does_not_carry() -> None:
    stream = Stream()
    stream(update(vtt=500, oi=70.0))
    stream(update(mode=Mode.LTPC, depth=None, ltt_ms=OPEN_MS + 1000))
    row = stream(update(vtt=900, depth=None, ltt_ms=OPEN_MS + 120_000))
    assert null(row["bid"])
    assert null(row["oi"])
    assert row["traded"] == 0
    assert [gap.volume for gap in stream.normaliser.gaps] == [500, 400]


@pytest.mark.parametrize(
    "wrong",
    [
        {"ltp": -1.0},
        {"ltp": float("nan")},
        {"ltp": float("inf")},
        {"vtt": -1},
        {"vtt": 2**60},
        {"ltt_ms": OPEN_MS + 3_600_000},
        {"ltt_ms": -5},
        {"oi": float("nan")},
        {"ltq": -3},
    ],
)
def test_impossible_update_is_rejected_with_a_reason(wrong: dict[str, Any]) -> None:
    stream = Stream()
    assert stream(update(**wrong), OPEN_MS + 100) is None
    (rejected,) = stream.normaliser.rejected
    assert rejected.reason.startswith("impossible")


def test_state_survives_dump_and_load() -> None:
    stream, twin = Stream(), Stream()
    for one in (stream, twin):
        one(update(vtt=500, greeks=GREEKS, day_candle=(OPEN_MS, 97.0, 103.0, 96.0)))
        one(update(INDEX, depth=None))
    twin.normaliser = Normaliser.load(stream.normaliser.dump())
    later = [update(vtt=520, ltt_ms=OPEN_MS + 900, depth=None), update(INDEX, ltp=101.0, depth=None)]
    for given in later:
        one, two = stream(given), twin(given)
        assert one.keys() == two.keys()
        assert all(a == b or (null(a) and null(b)) for a, b in zip(one.values(), two.values(), strict=True))


def test_unknown_keys_are_named_before_they_are_applied() -> None:
    stream = Stream()
    frame = Frame(FrameType.LIVE_FEED, OPEN_MS, [update("NSE_EQ|X"), update()], {})
    assert stream.normaliser.unknown(frames_of([frame])) == ["NSE_EQ|X"]


def test_update_whose_key_is_none_is_rejected_alone() -> None:
    stream, rows = Stream(), RowBuffer(4)
    long = "NSE_FO|" + "9" * 9_000
    given = [update(), update(long), update("NSE_FO|\0"), update(INDEX, depth=None)]
    frame = frames_of([Frame(FrameType.LIVE_FEED, OPEN_MS + 200, given, {})])
    assert stream.normaliser.unknown(frame) == []
    rows.extend(stream.normaliser.apply(frame, seq=1, received_us=1))
    assert rows.values()[:, TICK_COLUMN_NAMES.index("instrument_id")].tolist() == [1, 2]
    (rejected,) = stream.normaliser.rejected  # as one of a crowd would be: a row for each reason
    assert (rejected.instrument_id, rejected.reason, rejected.updates) == (None, "no instrument key", 2)
    assert rejected.update.instrument_key.startswith("NSE_FO|999") and len(rejected.update.instrument_key) < 200


def test_key_that_is_held_back_is_rejected_once_a_frame_and_has_no_state() -> None:
    stream, rows = Stream(), RowBuffer(8)
    strangers = [update(f"NSE_FO|{number}", ltp=-1.0 - number if number > 2 else 100.0) for number in range(5)]
    frame = frames_of([Frame(FrameType.LIVE_FEED, OPEN_MS + at, [update(), *strangers], {}) for at in (0, 200)])
    held = {one.instrument_key for one in strangers}
    rows.extend(stream.normaliser.apply(frame, seq=1, received_us=1, held=held))
    assert rows.values()[:, TICK_COLUMN_NAMES.index("instrument_id")].tolist() == [1, 1]
    rejected = [(one.frame, one.instrument_id, one.reason, one.updates) for one in stream.normaliser.rejected]
    assert sorted(rejected) == sorted(
        (at, None, reason, count) for at in (0, 1) for reason, count in ((HELD_BACK, 3), ("impossible ltp", 2))
    )
    assert stream.normaliser.states.keys == [KEY, INDEX] and not held & set(stream.normaliser.states.keys)
    with pytest.raises(AssertionError, match="introduced"):
        rows.extend(stream.normaliser.apply(frame, seq=1, received_us=1))


def test_key_that_means_another_instrument_begins_without_state() -> None:
    normaliser, rows = Normaliser(), RowBuffer(8)
    normaliser.states.learn([InstrumentRef(1, KEY), InstrumentRef(2, INDEX)], 20_000)
    frame = frames_of([Frame(FrameType.LIVE_FEED, OPEN_MS, [update(vtt=900), update(INDEX, depth=None)], {})])
    rows.extend(normaliser.apply(frame, seq=1, received_us=1))
    again = Normaliser.load(normaliser.dump())
    assert again.states.unnamed([KEY, INDEX, "NSE_FO|2", "x"], 20_000) == {"NSE_FO|2"}
    assert again.states.unnamed([KEY, INDEX], 20_001) == {KEY, INDEX}
    version = again.states.version
    again.states.learn([InstrumentRef(2, INDEX)], 20_001)
    assert again.states.version == version
    again.states.learn([InstrumentRef(7, KEY)], 20_001)
    assert again.states.version > version
    assert again.states.unnamed([KEY, INDEX], 20_001) == set()
    assert again.states.last_trades["instrument_id"].tolist() == [7, 2]
    assert again.states.last_trades["vtt"].tolist()[0] == 0 and again.states.last_trades["ltp"][1] > 0
    rows.extend(again.apply(frame, seq=2, received_us=2))
    assert [gap.instrument_id for gap in again.gaps] == [7]  # its day until now, as of one that is met first


def test_checkpoint_with_a_key_that_is_none_keeps_the_others() -> None:
    """An earlier version took any text for a key."""
    normaliser = Normaliser()
    normaliser.learn([InstrumentRef(1, "odd key"), InstrumentRef(2, KEY)])
    again = Normaliser.load(normaliser.dump())
    rows = RowBuffer(4)
    frame = frames_of([Frame(FrameType.LIVE_FEED, OPEN_MS + 200, [update("odd key"), update()], {})])
    rows.extend(again.apply(frame, seq=1, received_us=1))
    assert rows.values()[:, TICK_COLUMN_NAMES.index("instrument_id")].tolist() == [2]
    third = Normaliser.load(again.dump())
    third.learn([InstrumentRef(3, INDEX)])
    assert third.states.keys == ["odd key", KEY, INDEX] and third.states.place(INDEX) == 2


def test_update_in_ltpc_without_a_time_confirms_nothing_after_a_break() -> None:
    stream = Stream()
    stream(update(vtt=100))
    stream.normaliser.interrupt()
    stream(update(mode=Mode.LTPC, ltt_ms=0, vtt=100), current_ms=OPEN_MS + 1000)
    row = stream(update(mode=Mode.LTPC, ltt_ms=OPEN_MS + 60_000, ltp=101.0))
    assert row is not None and not row["traded"]  # what traded during the break is not this update's
