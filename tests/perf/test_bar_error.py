"""How far bars made of snapshots are from the truth, by trades a second and time between snapshots: `make bench`.

One made-up hour, of which every trade is known, is shown by feeds that are ever coarser: each sends the
last state of an instrument once in its interval, as a conflated feed does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from analytics.reconcile import PRICES, SAME, judge
from ingest.database.connections import Database
from ingest.database.settings import Engine
from ingest.journal.recording import write_recording
from ingest.model.frames import FrameType
from ingest.pipeline.replay import replay
from ingest.settings import Settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trade_tape import Tape, Trades, Updates
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.frame_bytes import entry, feed_response
from ingest.simulator.source import MarketFrame

DAY = date(2026, 1, 5)
HOUR = TradingDay(DAY, cash_closes=time(10, 15), derivatives_close=time(10, 15))
INSTRUMENTS = 90
SNAPSHOTS_MS = (150, 450, 900, 2_000)
TRADE_LIMITS = (0.5, 2.0, 8.0)  # between classes of instruments, trades a second
BARS = """
    select instrument_key, bucket, open, high, low, close, volume, 0.05::float8 as tick_size, null::text as unheard
    from bars_1m join instruments using (instrument_id)
"""


def conflated(frames: list[MarketFrame], interval_ms: int) -> Iterator[MarketFrame]:
    """Show of each instrument its last state in each interval, at the interval's end.

    Each instrument has a phase of its own: intervals that end with the minute would flatter the bars.
    """
    keys = sorted({key for frame in frames for key in frame.feeds})
    phase = {key: interval_ms * place // len(keys) for place, key in enumerate(keys)}
    last = {
        ((frame.current_ms - phase[key]) // interval_ms * interval_ms + phase[key] + interval_ms, key): feed
        for frame in frames[1:]
        for key, feed in frame.feeds.items()
    }
    yield frames[0]  # before the open
    for end_ms, shown in groupby(sorted(last), itemgetter(0)):
        yield MarketFrame(end_ms, {key: last[end_ms, key] for _, key in shown})


def record(path: Path, frames: Iterator[MarketFrame]) -> None:
    write_recording(
        path,
        (
            (
                frame.current_ms,
                feed_response(
                    FrameType.LIVE_FEED, frame.current_ms, [entry(key, feed) for key, feed in frame.feeds.items()]
                ),
            )
            for frame in frames
        ),
    )


def bars_of(database: Database) -> pl.DataFrame:
    with database.connect() as connection:
        cursor = connection.execute(BARS)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return pl.DataFrame(cursor.fetchall(), schema=names, orient="row", schema_overrides={"unheard": pl.String})


@pytest.mark.bench
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_bars_of_snapshots_against_the_truth(
    engine: Engine, template: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = GeneratedMarket(HOUR, seed=7, instruments=INSTRUMENTS, rate=170, grid_ms=50)
    traded = np.zeros(INSTRUMENTS)
    block = Tape.block

    def counted(tape: Tape, *given: Any) -> tuple[Trades, Updates]:
        trades, updates = block(tape, *given)
        traded[:] += np.bincount(trades.instrument, minlength=INSTRUMENTS)
        return trades, updates

    monkeypatch.setattr(Tape, "block", counted)
    frames = list(market.frames())
    truth = pl.DataFrame(
        [(key, datetime.fromtimestamp(ms / 1000, UTC), *bar) for key, ms, *bar in market.truth()],
        schema=["instrument_key", "bucket", *(f"official_{name}" for name in (*PRICES, "volume"))],
        orient="row",
    )
    classes = pl.DataFrame(
        {
            "instrument_key": [contract.key for contract in market.contracts],
            "trades_per_s": traded / 3600,
        }
    ).filter(~pl.col("instrument_key").str.contains("INDEX"))
    rows = []
    for interval_ms in SNAPSHOTS_MS:
        path = tmp_path / f"{interval_ms}.frames.gz"
        record(path, conflated(frames, interval_ms))
        with Database(template.create(f"error_{interval_ms}"), None) as database:
            asyncio.run(replay(Settings(), database.url, [path]))
            ours = bars_of(database).with_columns(pl.col("bucket").cast(pl.Datetime("us", "UTC")))
        template.drop(f"error_{interval_ms}")
        both = ours.join(
            truth.with_columns(pl.col("bucket").cast(pl.Datetime("us", "UTC"))),
            on=["instrument_key", "bucket"],
            how="full",
            coalesce=True,
        )
        found = judge(both, datetime(2026, 1, 4, 18, 30, tzinfo=UTC)).join(classes, on="instrument_key")
        assert found["volume"].sum() == found["official_volume"].sum()
        rows.append(found.with_columns(snapshot_ms=pl.lit(interval_ms)))
    found = pl.concat(rows).with_columns(
        trades=sum((pl.col("trades_per_s") >= limit).cast(pl.Int8) for limit in TRADE_LIMITS)
    )
    equal = {name: (pl.col(name) - pl.col(f"official_{name}")).abs() < SAME for name in PRICES}
    whole = pl.col("volume_error").is_not_null()
    table = found.filter(whole).group_by("trades", "snapshot_ms").agg(
        pl.col("trades_per_s").mean().round(1).alias("mean"),
        pl.len().alias("bars"),
        *(test.mean().round(3).alias(name) for name, test in equal.items()),
        (pl.col("volume_error") == 0).mean().round(3).alias("volume"),
        pl.col("price_error_bp").mean().round(2).alias("price_bp"),
        (pl.col("volume_error").abs().sum() / pl.col("official_volume").sum() * 100).round(2).alias("volume_%"),
    ).sort("trades", "snapshot_ms")  # fmt: skip
    with pl.Config(tbl_rows=40, tbl_cols=20):
        print("\nshare of bars that equal the truth; mean error of the worst price and of the volume")
        print(table)
    # The coarser the feed, the worse the bars: what is measured is the feed.
    closes = found.filter(whole).group_by("snapshot_ms").agg(equal["close"].mean()).sort("snapshot_ms")
    assert closes["close"].is_sorted(descending=True)
