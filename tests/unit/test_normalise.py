"""Normalise: each row of its table of judgements, and what partial frames leave unsaid."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ingest.batch import RowBuffer, nullify
from ingest.judge import DAY_MS
from ingest.model import TICK_COLUMN_NAMES, FrameType, InstrumentRef, Mode, Update
from ingest.normalise import Normaliser
from tests.unit.oracle import Frame, frames_of

KEY = "NSE_FO|60166"
INDEX = "NSE_INDEX|Nifty 50"
OPEN_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
DEPTH = (99.0, 10, 101.0, 20, 1000.0, 2000.0)
GREEKS = (0.5, 0.1, -2.0, 3.0, 4.0)


def update(key: str = KEY, **fields: Any) -> Update:
    base = Update(key, Mode.FULL, 100.0, OPEN_MS, 5, 98.0, 0, 0.0, 0.0, 0.0, DEPTH, None, None)
    return base._replace(**fields)


class Stream:
    """A normaliser fed update by update."""

    def __init__(self) -> None:
        self.normaliser = Normaliser()
        self.normaliser.learn([InstrumentRef(1, KEY), InstrumentRef(2, INDEX)])
        self.seq = 0

    def __call__(self, given: Update, current_ms: int | None = None) -> dict[str, float] | None:
        self.seq += 1
        rows = RowBuffer(4)
        current_ms = given.ltt_ms + 200 if current_ms is None else current_ms
        frame = Frame(FrameType.LIVE_FEED, current_ms, [given], {})
        self.normaliser.apply(frames_of([frame]), seq=self.seq, received_us=current_ms * 1000, out=rows)
        values = rows.values()
        nullify(values)
        return dict(zip(TICK_COLUMN_NAMES, values[0].tolist(), strict=True)) if rows.rows else None


# The volume that the first update of a day, after its first trade, shows.
BEGAN = (1, OPEN_MS - 555 * 60_000, OPEN_MS, 500, True)


def null(value: float) -> bool:
    return math.isnan(value)


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


def test_lower_vtt_at_a_later_ltt_is_a_correction() -> None:
    stream = Stream()
    stream(update(vtt=500))
    assert stream(update(vtt=490, ltt_ms=OPEN_MS + 1000))["traded"] == 0
    assert stream(update(vtt=495, ltt_ms=OPEN_MS + 2000))["volume"] == 5


def test_snapshot_of_an_earlier_day_opens_the_day_at_zero() -> None:
    stream = Stream()
    row = stream(update(vtt=9_999, ltt_ms=OPEN_MS - DAY_MS), OPEN_MS - 60_000)
    assert row["traded"] == 0
    assert null(row["vtt"])
    assert row["ltp"] == 100.0
    assert stream(update(vtt=75, ltt_ms=OPEN_MS + 300))["volume"] == 75


def test_day_change_while_listening_counts_volume_from_zero() -> None:
    stream = Stream()
    stream(update(vtt=9_000))
    stream(update(vtt=9_100, ltt_ms=OPEN_MS + 1000))
    row = stream(update(vtt=40, ltt_ms=OPEN_MS + DAY_MS))
    assert (row["traded"], row["volume"], row["vtt"]) == (1, 40, 40)


def test_day_change_while_not_listening_is_a_snapshot() -> None:
    stream = Stream()
    stream(update(vtt=9_000))
    stream.normaliser.interrupt()
    row = stream(update(vtt=40, ltt_ms=OPEN_MS + DAY_MS))
    assert row["traded"] == 0
    assert null(row["volume"])


def test_break_with_volume_in_the_same_minute_belongs_to_that_minute() -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 30_000))
    assert (row["traded"], row["volume"]) == (1, 100)
    assert stream.normaliser.gaps == [BEGAN]


def test_break_with_volume_in_a_later_minute_is_the_gaps_volume() -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 90_000))
    assert row["traded"] == 0
    assert null(row["volume"])
    assert stream.normaliser.gaps == [BEGAN, (1, OPEN_MS, OPEN_MS + 90_000, 100, False)]
    assert stream(update(vtt=605, ltt_ms=OPEN_MS + 91_000))["volume"] == 5


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


def test_day_candle_of_an_earlier_day_is_not_todays() -> None:
    row = Stream()(update(vtt=500, day_candle=(OPEN_MS - DAY_MS, 97.0, 103.0, 96.0)))
    assert null(row["day_high"])


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
