"""What the rest of the market says, for a history and minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import polars.testing
import pytest

from analytics.factors.market import TERMS, Market
from analytics.schema import BARS

INDEX, NEAR, FAR, CALL, PUT, SHARE = ("NSE_INDEX|I", "NSE_FO|1", "NSE_FO|2", "NSE_FO|3", "NSE_FO|4", "NSE_EQ|S")
DAY = date(2026, 1, 6)


def terms() -> pl.DataFrame:
    rows = [
        (INDEX, "INDEX", None, None, None),
        (NEAR, "FUT", INDEX, None, date(2026, 1, 29)),
        (FAR, "FUT", INDEX, None, date(2026, 2, 26)),
        (CALL, "CE", INDEX, 100.0, date(2026, 1, 29)),
        (PUT, "PE", INDEX, 100.0, date(2026, 1, 29)),
        (SHARE, "EQ", None, None, None),
    ]
    return pl.DataFrame(rows, schema=TERMS, orient="row")


def market(minutes: int = 30) -> pl.DataFrame:
    """Two days; bars are missing here and there, of the options and of their underlying."""
    rng = np.random.default_rng(3)
    rows = []
    for day in (5, 6):
        for minute in range(minutes):
            at = datetime(2026, 1, day, 3, 45, tzinfo=UTC) + timedelta(minutes=minute)
            for key in (INDEX, NEAR, FAR, CALL, PUT, SHARE):
                if rng.random() < (0.1 if key == NEAR else 0.3):
                    continue
                close = 100 + rng.normal()
                is_option = key in (CALL, PUT)
                rows.append(
                    {"instrument_key": key, "bucket": at, "open": close, "high": close, "low": close, "close": close,
                     "volume": None if key == INDEX else int(rng.integers(1, 100)), "oi": 10 if is_option else None,
                     "gamma": float(rng.random()) if is_option else None, "quality": "complete", "source": "ticks"}
                )  # fmt: skip
    frame = pl.DataFrame(rows, schema={name: BARS[name] for name in BARS if name not in ("iv", "delta")}, strict=False)
    return frame.with_columns(iv=pl.lit(None, pl.Float64), delta=pl.lit(None, pl.Float64)).select(*BARS).sort(
        "instrument_key", "bucket"
    )  # fmt: skip


ALL = (INDEX, NEAR, FAR, CALL, PUT, SHARE)


@pytest.mark.parametrize(("seen", "there"), [(0, ALL), (7, ALL), (7, (INDEX, NEAR)), (7, (NEAR, SHARE))])
def test_market_minute_by_minute_equals_the_history(seen: int, there: tuple[str, ...]) -> None:
    bars = market().filter(pl.col("instrument_key").is_in(there))
    known = terms().filter(pl.col("instrument_key").is_in(there))
    begin = datetime(2026, 1, 6, 3, 45, tzinfo=UTC) + timedelta(minutes=seen)
    whole = Market(known).history(bars, DAY)
    live = Market(known)
    parts = [live.history(bars.filter(pl.col("bucket") < begin), DAY)]
    for _, minute in bars.filter(pl.col("bucket") >= begin).sort("bucket").group_by("bucket", maintain_order=True):
        parts.append(live.minute(minute.sort("instrument_key")))
    found = pl.concat(parts).sort("instrument_key", "bucket")
    assert whole.select("instrument_key", "bucket").equals(bars.select("instrument_key", "bucket"))
    assert all((whole[name].count() > 0) == (CALL in there) for name in ("spot", "chain_gamma"))
    assert (whole.filter(pl.col("instrument_key") == INDEX)["volume"].count() > 0) == (INDEX in there)
    pl.testing.assert_frame_equal(found, whole, rel_tol=1e-12)


def test_market_says_class_spot_gamma_and_the_volume_of_the_nearest_future() -> None:
    bars = market()
    found = Market(terms()).history(bars, DAY)
    classes = dict(found.select("instrument_key", "instrument_class").unique().iter_rows())
    assert classes == {INDEX: "index", NEAR: "future", FAR: "future", CALL: "option", PUT: "option", SHARE: "equity"}
    at = {
        key: dict(bars.filter(pl.col("instrument_key") == key).select("bucket", "close").iter_rows()) for key in classes
    }
    volumes = {
        key: dict(bars.filter(pl.col("instrument_key") == key).select("bucket", "volume").iter_rows())
        for key in (NEAR, FAR)
    }
    for row in found.iter_rows(named=True):
        if row["instrument_key"] == INDEX:
            assert row["volume"] == volumes[NEAR].get(row["bucket"], volumes[FAR].get(row["bucket"]))
        if row["instrument_key"] in (CALL, PUT) and row["bucket"] in at[INDEX]:
            assert row["spot"] == at[INDEX][row["bucket"]]
        assert (row["spot"] is None) or row["instrument_class"] == "option"
        assert (row["chain_gamma"] is None) or row["instrument_class"] != "equity"
    # At a minute with both options: calls less puts.
    both = found.filter(pl.col("instrument_key").is_in([CALL, PUT])).filter(pl.len().over("bucket") == 2)
    row = both.filter(pl.col("spot").is_not_null()).head(1)["bucket"].item()
    call, put = both.filter(pl.col("bucket") == row).sort("instrument_key").iter_rows(named=True)
    size = [one["gamma"] * one["oi"] * one["spot"] ** 2 / 100 for one in (call, put)]
    assert call["chain_gamma"] == pytest.approx(size[0] - size[1])
