"""How long all indicators and spikes of a day take, and one more minute of it: `make bench`."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
import talib

from analytics.factors import black76, option_model
from analytics.factors.frame import features
from analytics.factors.market import TERMS, Market
from analytics.market_time import market_day
from analytics.read.minute_reader import MinuteReader
from analytics.signals.detection import spikes
from analytics.signals.find import next_minutes, store
from analytics.signals.live_detection import LiveDetector
from analytics.signals.rules import DEFAULT
from ingest.database.connections import Database
from ingest.database.queries import query

INSTRUMENTS, MINUTES, RUNS = 2000, 375, 3
OPEN = datetime(2026, 1, 5, 3, 45, tzinfo=UTC)
DAY_S_MAX, MINUTE_S_MAX, MODEL_S_MAX = 2.0, 0.1, 1.0
UNDERLYINGS, STRIKES = 20, 50


def day_of_bars() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.0005, (INSTRUMENTS, MINUTES)), axis=1)).ravel()
    buckets = pl.datetime_range(OPEN, OPEN + timedelta(minutes=MINUTES - 1), "1m", time_zone="UTC", eager=True)
    return pl.DataFrame(
        {
            "instrument_key": np.repeat([f"NSE_FO|{40_000 + n}" for n in range(INSTRUMENTS)], MINUTES),
            "bucket": pl.concat([buckets] * INSTRUMENTS).cast(pl.Datetime("us", "UTC")),
            "open": close,
            "high": close * 1.0004,
            "low": close * 0.9996,
            "close": close,
            "volume": rng.integers(1, 5000, INSTRUMENTS * MINUTES),
            "oi": rng.integers(1000, 2000, INSTRUMENTS * MINUTES),
            "quality": "complete",
        }
    )


def talib_loop(bars: pl.DataFrame) -> None:
    """What TA-Lib has of the same indicators, one instrument after the other."""
    for _, part in bars.group_by("instrument_key", maintain_order=True):
        high, low, close = (part[name].to_numpy() for name in ("high", "low", "close"))
        for length in (20, 50, 200):
            talib.SMA(close, length)
            talib.EMA(close, length)
        talib.RSI(close, 14)
        talib.TRANGE(high, low, close)
        talib.ATR(high, low, close, 14)
        talib.ROC(close, 10)
        talib.MOM(close, 10)
        talib.BBANDS(close, 20)
        talib.SMA(part["volume"].cast(pl.Float64).to_numpy(), 20)


@pytest.mark.bench
def test_features_and_spikes_of_2000_instruments_take_under_two_seconds() -> None:
    bars = day_of_bars()
    ours, theirs = [], []
    for _ in range(RUNS):
        began = time.perf_counter()
        spikes(features(bars).collect())
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        talib_loop(bars)
        theirs.append(time.perf_counter() - began)
    print(f"\n{INSTRUMENTS} x {MINUTES} bars: all features and spikes {min(ours):.2f} s, "
          f"TA-Lib's 13 indicators in a loop {min(theirs):.2f} s, {min(ours) / min(theirs):.2f}")  # fmt: skip
    assert min(ours) < DAY_S_MAX


def day_of_options() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars and terms of chains without futures, so that parity gives the forwards: 2,000 options in all."""
    rng = np.random.default_rng(3)
    minute = np.arange(MINUTES)
    years = (22 * 1_440 + 375 - minute - 1) / (365 * 1_440)
    spot = 25_000 * np.exp(np.cumsum(rng.normal(0, 0.0003, (UNDERLYINGS, 1, 1, MINUTES)), axis=-1))
    strike = 25_000 * (1 + 0.004 * (np.arange(STRIKES) - STRIKES / 2))[:, None, None]
    is_call = np.array([True, False])[:, None]
    smile = 0.13 + 0.02 * (strike / 25_000 - 1) ** 2 * 100
    close = black76.price(
        smile, spot * np.exp(option_model.RATE * years), strike, years, rate=option_model.RATE, is_call=is_call
    )
    places = [(u, k, side) for u in range(UNDERLYINGS) for k in strike.ravel() for side in ("CE", "PE")]
    keys = [f"NSE_FO|{u:02}{k:05.0f}{side}" for u, k, side in places]
    terms = pl.DataFrame(
        {
            "instrument_key": keys,
            "underlying_key": [f"NSE_INDEX|{u}" for u, _, _ in places],
            "instrument_type": [side for _, _, side in places],
            "strike": [k for _, k, _ in places],
            "expiry": OPEN.date() + timedelta(days=22),
        }
    )
    buckets = pl.datetime_range(OPEN, OPEN + timedelta(minutes=MINUTES - 1), "1m", time_zone="UTC", eager=True)
    bars = pl.DataFrame(
        {
            "instrument_key": np.repeat(keys, MINUTES),
            "bucket": pl.concat([buckets] * len(keys)).cast(pl.Datetime("us", "UTC")),
            "close": np.maximum(np.round(close.ravel() / 0.05), 1) * 0.05,
        }
    )
    return bars, terms


@pytest.mark.bench
def test_own_volatility_and_greeks_of_2000_options_take_under_a_second() -> None:
    bars, terms = day_of_options()
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        found = option_model.model(bars, terms)
        seconds.append(time.perf_counter() - began)
    print(f"\n{terms.height} options x {MINUTES} minutes: own volatility and greeks {min(seconds):.2f} s")
    assert found.height == INSTRUMENTS * MINUTES and found["iv_model"].null_count() < 0.02 * found.height
    assert min(seconds) < MODEL_S_MAX


@pytest.mark.bench
def test_minute_from_bars_in_the_database_to_signals_stored_takes_under_100_ms(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    conn.execute(
        "insert into instruments (instrument_key, segment, trading_symbol, instrument_type) "
        "select 'NSE_FO|' || 40000 + n, 'NSE_FO', 'X' || n, 'FUT' from generate_series(0, %s) as n",
        (INSTRUMENTS - 1,),
    )
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, %s + n * interval '1 minute', 100, 100.1, 99.9, 100 + random() * 0.1, "
        "1000 + 500 * random(), 5000, 'I1' from instruments cross join generate_series(0, %s) as n "
        "order by n, instrument_id",
        (OPEN, 118),
    )
    conn.execute("select tickline.ensure_partitions(%s, %s)", (OPEN.date(), OPEN.date()))
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) "
        "select %s + n * interval '30 s', instrument_id, n, true, 100 + random() * 0.1, 500 * (n + 1), 500, 5000, "
        "now() "
        "from generate_series(0, 239) as n cross join instruments",
        (OPEN,),
    )
    # In the last minutes twenty instruments jump.
    conn.execute(
        "update official_bars_1m set high = 106, close = 105, volume = 60000 "
        "where bucket >= %s and instrument_id <= (select min(instrument_id) + 19 from instruments)",
        (OPEN + timedelta(minutes=117),),
    )
    conn.execute("vacuum analyze")
    with closing(database.connect(autocommit=True)) as connection, MinuteReader(database, connection) as reader:
        history = reader.read(OPEN, OPEN + timedelta(minutes=114))
        terms = connection.execute(query("signals/terms"), {"instrument_ids": reader.ids}).fetchall()
        market = Market(pl.DataFrame(terms, TERMS, orient="row", strict=False))
        watcher = LiveDetector(DEFAULT, market.history(history, market_day(OPEN)), market_day(OPEN))
        seconds, stored = [], 0
        # The first minute is not counted: connections and plans are new. Of the last one, as always of the newest,
        # there are only ticks.
        for number in range(114, 120):
            start = OPEN + timedelta(minutes=number)
            # What the ingester does each minute: what is older is kept, not computed.
            conn.execute("call tickline.refresh_bars(%s, %s)", (start - timedelta(minutes=2), start))
            began = time.perf_counter()
            [bars] = next_minutes(reader, None, start, start + timedelta(minutes=1))
            read = time.perf_counter()
            found = watcher.advance(market.minute(bars))
            judged = time.perf_counter()
            stored += store(connection, DEFAULT, found)["is_new"].sum()
            done = time.perf_counter()
            watcher.carry_on()
            assert bars.height == INSTRUMENTS
            if number > 114:
                seconds.append((done - began, read - began, judged - read, done - judged))
    best = min(seconds)
    began = time.perf_counter()
    talib_loop(history)
    theirs = time.perf_counter() - began
    print(f"\n{database.engine}: a minute of {INSTRUMENTS} instruments {best[0] * 1000:.0f} ms: "
          f"read {best[1] * 1000:.0f}, judge {best[2] * 1000:.0f}, store {best[3] * 1000:.0f}; "
          f"{stored} signals, worst minute {max(seconds)[0] * 1000:.0f} ms; "
          f"TA-Lib's 13 indicators in a loop over {history.height // INSTRUMENTS} minutes {theirs * 1000:.0f} ms, "
          f"{best[0] / theirs:.2f}")  # fmt: skip
    assert stored == 20
    assert best[0] < MINUTE_S_MAX
