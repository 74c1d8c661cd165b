"""Normalise: each row of its table of judgements, and what partial frames leave unsaid."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest

from ingest.market.time import DAY_MS
from ingest.model.findings import HELD_BACK
from ingest.model.frames import FrameType, Mode, Update
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.copy_format import nullify
from ingest.store.row_buffer import RowBuffer
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
        rows.extend(self.normaliser.apply(frames_of([frame]), seq=self.seq, received_us=current_ms * 1000))
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


def volumes(stream: Stream, *counts: int, from_s: int = 1, step_ms: int = 1000) -> list[float]:
    """The volumes of updates that show these counts, a second apart."""
    times = (OPEN_MS + from_s * 1000 + n * step_ms for n in range(len(counts)))
    return [stream(update(vtt=vtt, ltt_ms=ms))["volume"] for vtt, ms in zip(counts, times, strict=True)]


def test_step_back_of_vtt_is_a_glitch_and_the_reference_stays_the_days_largest() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, 500, 3500, 600, 700, 3600) == [0, 500, 0, 0, 100]
    assert stream.normaliser.counts["backward"] == 3


def test_third_update_in_a_row_below_the_reference_is_a_reset_and_carries_the_volume_since() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, 500, 500, 620, 640, 630) == [0, 0, 120, 20, 0]
    assert stream.normaliser.counts["resets"] == 1


@pytest.mark.parametrize(
    "counts",
    [
        (500, 400, 450, 440, 445),  # falls in between
        (500, 600, 3000, 700, 800),  # back in between
    ],
)
def test_updates_below_the_reference_that_do_not_go_on_are_no_reset(counts: tuple[int, ...]) -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, *counts) == [0] * 5


def test_glitch_that_is_repeated_by_its_quotes_is_no_reset() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, *[500] * 6, step_ms=0) == [0] * 6
    assert volumes(stream, 3100, from_s=2) == [100]


def test_reset_is_the_same_at_every_cut_and_over_a_checkpoint() -> None:
    counts = (3000, 3100, 500, 510, 3200, 600, 610, 620, 700, 10, 3300)
    given = [update(vtt=vtt, ltt_ms=OPEN_MS + n * 1000) for n, vtt in enumerate(counts)]
    whole: list[list[float]] = []
    for cut in range(len(given)):
        normaliser, rows = Normaliser(), RowBuffer(len(given))
        normaliser.learn([InstrumentRef(1, KEY)])
        for part in (given[:cut], given[cut:]):
            frames = frames_of([Frame(FrameType.LIVE_FEED, one.ltt_ms + 200, [one], {}) for one in part])
            rows.extend(normaliser.apply(frames, seq=np.arange(len(part)) + 1, received_us=0))
            normaliser = Normaliser.load(normaliser.dump())
        whole.append(nullified(rows)[:, TICK_COLUMN_NAMES.index("volume")].tolist())
    assert all(null(one[0]) and one[1:] == [100, 0, 0, 100, 0, 0, 20, 80, 0, 2600] for one in whole)


def nullified(rows: RowBuffer) -> np.ndarray:
    values = rows.values().copy()
    nullify(values)
    return values


@pytest.mark.parametrize("after_a_break", [False, True])
def test_first_update_without_vtt_is_no_reference(after_a_break: bool) -> None:
    stream = Stream()
    if after_a_break:
        stream(update(vtt=500))
        stream.normaliser.interrupt()
    row = stream(update(ltt_ms=OPEN_MS + 60_000))
    assert (row["traded"], row["volume"]) == (0, 0)
    row = stream(update(vtt=5_000_075, ltt_ms=OPEN_MS + 61_000))
    assert row["traded"] == 0
    assert null(row["volume"])
    assert sum(gap.volume for gap in stream.normaliser.gaps) == 5_000_075
    assert volumes(stream, 5_000_100, from_s=62) == [25]


def test_price_without_a_time_of_trade_does_not_open_the_day() -> None:
    stream = Stream()
    stream(update(ltt_ms=0), OPEN_MS)
    assert null(stream(update(vtt=5_000_075))["volume"])


def test_empty_update_before_a_trade_makes_no_break_of_it() -> None:
    stream = Stream()
    stream(update(vtt=500))
    empty = update(mode=Mode.LTPC, ltp=0.0, ltt_ms=0, ltq=0, depth=None, prev_close=0.0)
    assert stream(empty, OPEN_MS + 59_000) is None
    assert volumes(stream, 600, from_s=90) == [100]
    assert stream.normaliser.gaps == [BEGAN]


MIDNIGHT_MS = OPEN_MS - 555 * 60_000 + DAY_MS  # of the next day


@pytest.mark.parametrize("nights", [1, 2])
def test_trade_before_midnight_that_is_told_after_it_is_of_its_own_day(nights: int) -> None:
    stream = Stream()
    stream(update(vtt=500, ltt_ms=OPEN_MS + (nights - 1) * DAY_MS))
    midnight_ms = MIDNIGHT_MS + (nights - 1) * DAY_MS
    row = stream(update(vtt=560, ltt_ms=midnight_ms - 1000), midnight_ms + 300)
    assert (row["traded"], row["volume"], row["vtt"]) == (1, 60, 560)
    assert row["ts"] == (midnight_ms - 1000) * 1000
    row = stream(update(vtt=560, ltt_ms=midnight_ms - 1000), midnight_ms + 600)
    assert (row["traded"], null(row["vtt"])) == (0, True)
    assert stream(update(vtt=75, ltt_ms=midnight_ms + 5000))["volume"] == 75


def test_count_of_yesterday_is_in_no_row_of_today() -> None:
    stream = Stream()
    stream(update(vtt=500, atp=99.5, day_candle=(OPEN_MS, 97.0, 103.0, 96.0)))
    partial = update(ltp=0.0, ltt_ms=0, ltq=0)
    row = stream(partial, OPEN_MS + DAY_MS)
    assert all(null(row[name]) for name in ("vtt", "atp", "day_high"))


@pytest.mark.parametrize("ltp", [0.0, 100.0])
@pytest.mark.parametrize(("night", "volume"), [(0, 100), (DAY_MS, 600)])
def test_trade_after_quotes_that_repeat_the_count_is_no_breaks(ltp: float, night: int, volume: int) -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    stream(update(ltp=ltp, ltt_ms=0, ltq=0, vtt=500), OPEN_MS + night + 60_000)
    assert stream(update(vtt=600, ltt_ms=OPEN_MS + night + 90_000))["volume"] == volume
    assert stream.normaliser.gaps == [BEGAN]


def test_stale_update_after_a_break_shows_nothing_of_it() -> None:
    stream = Stream()
    stream(update(vtt=500, ltt_ms=OPEN_MS + 5000))
    stream.normaliser.interrupt()
    stream(update(vtt=450, ltt_ms=OPEN_MS + 4000), OPEN_MS + 80_000)
    assert null(volumes(stream, 600, from_s=90)[0])
    assert stream.normaliser.gaps[-1] == (1, OPEN_MS + 5000, OPEN_MS + 90_000, 100, False)


def test_checkpoint_of_a_version_that_knew_no_resets_is_read() -> None:
    stream = Stream()
    stream(update(vtt=500, atp=99.5))
    document = json.loads(stream.normaliser.dump())
    fields = np.dtype([tuple(field) for field in document["reference_fields"]])
    before = [name for name in fields.names if not name.startswith("low")]
    references = np.frombuffer(base64.b64decode(document["references"]), fields)
    packed = np.empty(len(references), np.dtype([(name, fields[name]) for name in before]))
    for name in before:
        packed[name] = references[name]
    document |= {"reference_fields": packed.dtype.descr, "references": base64.b64encode(packed.tobytes()).decode()}
    document["memory"] = {name: document["memory"][name] for name in ("official_ms", "lost_ms")}
    stream.normaliser = Normaliser.load(json.dumps(document).encode())
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 1000, depth=None))
    assert (row["volume"], row["atp"]) == (100, 99.5)


def test_snapshot_of_an_earlier_day_opens_the_day_at_zero() -> None:
    stream = Stream()
    row = stream(update(vtt=9_999, ltt_ms=OPEN_MS - DAY_MS), OPEN_MS - 60_000)
    assert row["traded"] == 0
    assert null(row["vtt"])
    assert row["ltp"] == 100.0
    assert stream(update(vtt=75, ltt_ms=OPEN_MS + 300))["volume"] == 75


def test_day_of_which_only_the_end_was_seen_gets_no_volume_and_its_last_trade_stays_known() -> None:
    """What is told late of it would be all that it has: bars of 75 where the exchange counted 10,074."""
    stream = Stream()
    evening_ms = MIDNIGHT_MS - 60_000
    stream(update(vtt=9_999, ltt_ms=evening_ms), MIDNIGHT_MS + 1_000)
    row = stream(update(vtt=10_074, ltt_ms=evening_ms + 50_000), MIDNIGHT_MS + 2_000)
    assert (row["traded"], row["volume"], null(row["vtt"])) == (0, 0, True)
    partial = stream(update(ltp=0.0, ltt_ms=0, ltq=0), MIDNIGHT_MS + 3_000)
    assert partial["ltt"] == evening_ms * 1000
    assert stream(update(vtt=75, ltt_ms=MIDNIGHT_MS + 5_000))["volume"] == 75
    assert stream.normaliser.gaps == [] and stream.normaliser.counts["backward"] == 0


def test_day_whose_end_was_missed_gets_no_volume_that_is_told_later_still() -> None:
    stream = Stream()
    evening_ms = MIDNIGHT_MS - 600_000
    stream(update(vtt=500, ltt_ms=evening_ms - 1_000))
    assert stream(update(vtt=560, ltt_ms=evening_ms))["volume"] == 60
    stream.normaliser.interrupt()
    rows = [
        stream(update(vtt=vtt, ltt_ms=evening_ms + at_ms), MIDNIGHT_MS + at_ms)
        for vtt, at_ms in ((900, 300_000), (975, 500_000))
    ]
    assert [(row["traded"], null(row["vtt"])) for row in rows] == [(0, True), (0, True)]


@pytest.mark.parametrize("vtt", [0, 9_999])
def test_break_before_the_days_first_trade_begins_with_the_day(vtt: int) -> None:
    """Not in 1970: nothing had traded on that day when the connection broke."""
    stream = Stream()
    stream(update(vtt=vtt, ltt_ms=OPEN_MS - DAY_MS), OPEN_MS - 60_000)
    stream.normaliser.interrupt()
    stream(update(vtt=150, ltt_ms=OPEN_MS + 300))
    assert stream.normaliser.gaps == [(1, OPEN_MS - 555 * 60_000, OPEN_MS + 300, 150, False)]


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
