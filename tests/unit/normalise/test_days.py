"""Day limits of the normaliser: trades reported late, days and nights without a connection."""

from __future__ import annotations

import pytest

from ingest.market.time import DAY_MS
from tests.unit.normalise.updates import OPEN_MS, Stream, null, update

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


def test_day_candle_of_an_earlier_day_is_not_todays() -> None:
    row = Stream()(update(vtt=500, day_candle=(OPEN_MS - DAY_MS, 97.0, 103.0, 96.0)))
    assert null(row["day_high"])
