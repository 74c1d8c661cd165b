"""Intervals and the bars that are put together out of narrower ones."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from analytics.market_time import MARKET_ZONE, SpecialSession
from analytics.read.intervals import interval_minutes, read_range, roll_up
from analytics.schema import BARS
from ingest.errors import ConfigError
from tests.data import REPOSITORY

DAY = date(2025, 12, 15)


def at(clock: str, day: date = DAY) -> datetime:
    """Return a market-local time of a day as aware UTC."""
    return datetime.combine(day, time.fromisoformat(clock), MARKET_ZONE).astimezone(UTC)


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return bars of what is given of each; the rest is ordinary."""
    usual = {
        "instrument_key": "NSE_EQ|A",
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 100,
        "oi": None,
        "source": "official",
        "quality": "complete",
        "iv": None,
        "delta": None,
        "gamma": None,
    }
    return pl.DataFrame([usual | row for row in rows], schema=BARS)


def buckets(bars: pl.DataFrame) -> list[str]:
    return bars["bucket"].dt.convert_time_zone(MARKET_ZONE.key).dt.strftime("%H:%M").to_list()


@pytest.mark.parametrize(
    ("interval", "minutes"),
    [
        ("1m", 1),
        ("75m", 75),
        ("1h", 60),
        (" 1D ", 1440),
        (3, 3),
        (timedelta(hours=2), 120),
        ("1440m", 1440),
        ("1w", 10_080),
        ("1MO", 44_640),
    ],
)
def test_interval_multiple_of_a_minute_is_read(interval: Any, minutes: int) -> None:
    assert interval_minutes(interval) == minutes


@pytest.mark.parametrize(
    "interval",
    [
        "",
        "m",
        "0m",
        "-5m",
        "1.5m",
        "90s",
        "2d",
        "2w",
        "2mo",
        "1441m",
        0,
        True,
        1.5,
        None,
        timedelta(seconds=90),
        "\u0661m",
    ],
)
def test_interval_of_another_kind_is_refused(interval: Any) -> None:
    with pytest.raises(ConfigError, match="is not a multiple of a minute"):
        interval_minutes(interval)


@pytest.mark.parametrize(
    ("minutes", "clocks", "expected"),
    [
        (75, "09:15 10:29 10:30 14:14 14:15 15:29 15:30", "09:15 10:30 13:00 14:15 15:30"),
        (60, "09:15 10:14 10:15 15:14 15:15 15:29", "09:15 10:15 14:15 15:15"),
        (30, "09:15 09:44 09:45 15:44", "09:15 09:45 15:15"),
        (1440, "09:15 15:29 23:59", "09:15"),
    ],
)
def test_roll_up_buckets_begin_at_the_open(minutes: int, clocks: str, expected: str) -> None:
    bars = frame(*({"bucket": at(clock)} for clock in clocks.split()))
    assert buckets(roll_up(bars, minutes)) == expected.split()


def test_roll_up_other_segments_begin_at_their_own_open() -> None:
    bars = frame(
        {"instrument_key": "MCX_FO|1", "bucket": at("10:14")},
        {"instrument_key": "MCX_FO|1", "bucket": at("23:29")},
        {"instrument_key": "NSE_EQ|A", "bucket": at("10:14")},
    )
    assert buckets(roll_up(bars, 75)) == ["09:00", "22:45", "09:15"]


def test_roll_up_special_session_begins_at_its_own_open() -> None:
    special = [SpecialSession("NSE_EQ", DAY, at("18:00"))]
    keys = [f"{segment}|1" for segment in ("NSE_EQ", "NSE_FO") for _ in range(4)]
    clocks = ["17:52", "18:00", "18:59", "19:10"] * 2
    bars = frame(*({"instrument_key": key, "bucket": at(clock)} for key, clock in zip(keys, clocks, strict=True)))
    assert buckets(roll_up(bars, 60, special)) == ["18:00", "19:00", "17:15", "18:15"]


def test_roll_up_opening_auction_belongs_to_the_first_bucket() -> None:
    bars = frame(
        {"bucket": at("09:07"), "open": 8.0, "volume": 5},
        {"bucket": at("09:15"), "open": 10.0, "volume": 7},
        {"bucket": at("09:30")},
    )
    wide = roll_up(bars, 15)
    assert buckets(wide) == ["09:15", "09:30"]
    assert wide.row(0, named=True) | {"open": 8.0, "volume": 12} == wide.row(0, named=True)


def test_roll_up_days_and_instruments_stay_apart() -> None:
    later = DAY + timedelta(days=1)
    bars = frame(
        {"bucket": at("15:29")},
        {"bucket": at("00:10", later)},
        {"bucket": at("09:15", later)},
        {"instrument_key": "NSE_EQ|B", "bucket": at("15:29")},
    )
    wide = roll_up(bars, 1440)
    assert wide["bucket"].to_list() == [at("09:15"), at("09:15", later), at("09:15")]
    assert wide["volume"].to_list() == [100, 200, 100]


def test_roll_up_fields_follow_their_rules() -> None:
    bars = frame(
        {
            "bucket": at("09:15"),
            "open": 10.0,
            "high": 15.0,
            "low": 9.0,
            "close": 14.0,
            "volume": None,
            "oi": 7,
            "gamma": 0.5,
        },
        {
            "bucket": at("09:16"),
            "open": 14.0,
            "high": 14.5,
            "low": 3.0,
            "close": 5.0,
            "volume": 30,
            "oi": 8,
            "iv": 0.25,
        },
        {
            "bucket": at("09:17"),
            "open": 5.0,
            "high": 6.0,
            "low": 4.0,
            "close": 6.0,
            "volume": 12,
            "oi": None,
            "delta": 0.75,
        },
    )
    expected = {"open": 10.0, "high": 15.0, "low": 3.0, "close": 6.0, "volume": 42, "oi": 8, "iv": 0.25}
    expected |= {"delta": 0.75, "gamma": 0.5}
    row = roll_up(bars, 5).row(0, named=True)
    assert {name: row[name] for name in expected} == expected


def test_roll_up_without_volume_or_oi_stays_null() -> None:
    bars = frame({"bucket": at("09:15"), "volume": None}, {"bucket": at("09:16"), "volume": None})
    assert roll_up(bars, 5).select("volume", "oi").row(0) == (None, None)


@pytest.mark.parametrize(
    ("sources", "qualities", "expected"),
    [
        (["official", "official"], ["complete", "complete"], ("official", "complete")),
        (["official", "ticks"], ["complete", "thin"], ("mixed", "thin")),
        (["ticks", "ticks"], ["gap", "thin"], ("ticks", "gap")),
        (["backfill", "backfill"], ["partial", "auction"], ("backfill", "partial")),
    ],
)
def test_roll_up_source_and_quality_never_claim_more(
    sources: list[str], qualities: list[str], expected: tuple[str, str]
) -> None:
    rows = [
        {"bucket": at(f"09:{15 + index}"), "source": source, "quality": quality}
        for index, (source, quality) in enumerate(zip(sources, qualities, strict=True))
    ]
    assert roll_up(frame(*rows), 15).select("source", "quality").row(0) == expected


def test_roll_up_empty_frame_keeps_the_schema() -> None:
    assert_frame_equal(roll_up(frame(), 75), pl.DataFrame(schema=BARS))


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * 1440 - 1), st.floats(1, 1e6), st.one_of(st.none(), st.integers(0, 10**9))),
        unique_by=lambda row: row[0],
    ),
    st.integers(1, 1440),
)
def test_roll_up_any_bars_are_counted_once(rows: list[tuple[int, float, int | None]], minutes: int) -> None:
    first = at("00:00")
    bars = frame(
        *(
            {"bucket": first + timedelta(minutes=minute), "close": price, "high": price, "volume": volume}
            for minute, price, volume in sorted(rows)
        )
    )
    wide = roll_up(bars, minutes)
    assert wide.schema == pl.Schema(BARS)
    assert wide["volume"].sum() == bars["volume"].sum()
    assert wide["high"].max() == bars["high"].max()
    assert not wide.select("instrument_key", "bucket").is_duplicated().any()
    assert wide["bucket"].is_sorted()
    local = wide["bucket"].dt.convert_time_zone(MARKET_ZONE.key)
    past_open = (local - local.dt.truncate("1d")).dt.total_minutes() - (9 * 60 + 15)
    assert ((past_open % minutes == 0) & (past_open >= 0)).all()


@given(st.integers(0, 10 * 366 * 1440), st.integers(0, 10_000), st.integers(1, 1440))
def test_read_range_holds_all_bars_of_the_buckets(start: int, length: int, minutes: int) -> None:
    first = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=start)
    last = first + timedelta(minutes=length + 1)
    read_first, read_last = read_range(first, last, minutes)
    assert read_first is not None
    assert read_last is not None
    outside = frame({"bucket": read_first - timedelta(minutes=1)}, {"bucket": read_last})
    for bucket in roll_up(outside, minutes)["bucket"]:
        assert not first <= bucket < last


def test_roll_up_real_minute_bars_equal_the_real_five_minute_bars() -> None:
    folder = Path(os.environ.get("TICKLINE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "nse-reliance-1m.parquet").exists():
        pytest.skip(f"no test data in {folder}")
    minute, five = (_real_bars(folder / f"nse-reliance-{width}m.parquet") for width in (1, 5))
    both = five.filter(pl.col("bucket") >= minute["bucket"].min(), pl.col("bucket") <= minute["bucket"].max())
    assert both.height > 1000
    assert_frame_equal(roll_up(minute, 5), both)


def _real_bars(path: Path) -> pl.DataFrame:
    """Return a file of real bars in our columns."""
    return pl.read_parquet(path).select(
        pl.lit("NSE_EQ|INE002A01018").alias("instrument_key"),
        "bucket",
        "open",
        "high",
        "low",
        "close",
        pl.col("volume").cast(pl.Int64),
        pl.lit(None, dtype=pl.Int64).alias("oi"),
        pl.lit("official", dtype=BARS["source"]).alias("source"),
        pl.lit("complete", dtype=BARS["quality"]).alias("quality"),
        *(pl.lit(None, dtype=pl.Float64).alias(name) for name in ("iv", "delta", "gamma")),
    )
