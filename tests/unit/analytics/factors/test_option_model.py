"""Own volatility of options: which forward it is measured by, how long they live, and what is null."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.factors import black76
from analytics.factors.option_model import MODEL, RATE, model
from ingest.errors import ConfigError

EXPIRY = date(2026, 1, 8)
AT = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
STRIKES = [24_800.0, 24_900.0, 25_000.0, 25_100.0, 25_200.0]
FORWARD, VOLATILITY = 25_033.0, 0.14


def years(at: datetime = AT) -> float:
    """From the end of the minute to 15:30 of the last day, in which there are 10:00 hours UTC."""
    return (datetime(2026, 1, 8, 10, 0, tzinfo=UTC) - at - timedelta(minutes=1)).total_seconds() / (365 * 86_400)


def chain(at: datetime = AT, *, future: float | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars and terms of five strikes priced at one volatility, and perhaps of the future."""
    bars, terms = [], []
    for strike in STRIKES:
        for kind in ("CE", "PE"):
            price = black76.price(VOLATILITY, FORWARD, strike, years(at), rate=RATE, is_call=kind == "CE")
            bars.append((f"{strike:.0f}{kind}", at, float(price)))
            terms.append((f"{strike:.0f}{kind}", "NIFTY", kind, strike, EXPIRY))
    terms.append(("FUT", "NIFTY", "FUT", None, EXPIRY))
    if future is not None:
        bars.append(("FUT", at, future))
    bars.append(("INFY", at, 1500.0))
    schema = {"instrument_key": pl.String, "bucket": pl.Datetime("us", "UTC"), "close": pl.Float64}
    of_terms = {"instrument_key": pl.String, "underlying_key": pl.String, "instrument_type": pl.String}
    of_terms |= {"strike": pl.Float64, "expiry": pl.Date}
    return pl.DataFrame(bars, schema, orient="row"), pl.DataFrame(terms, of_terms, orient="row")


def test_parity_gives_the_forward_and_every_option_its_volatility() -> None:
    bars, terms = chain()
    got = model(bars, terms)
    assert got.select(bars.columns).equals(bars)
    options = got.filter(pl.col("instrument_key") != "INFY")
    np.testing.assert_allclose(options["forward"], FORWARD, rtol=1e-12)
    np.testing.assert_allclose(options["iv_model"], VOLATILITY, rtol=1e-8)
    assert got.filter(pl.col("instrument_key") == "INFY").select(MODEL).null_count().row(0) == (1,) * len(MODEL)
    calls = options.filter(pl.col("instrument_key").str.ends_with("CE"))
    assert calls["delta_model"].is_sorted(descending=True) and (calls["gamma_model"] > 0).all()


def test_the_future_of_the_expiry_goes_before_parity_and_one_bad_price_moves_no_forward() -> None:
    bars, terms = chain(future=25_040.0)
    assert set(model(bars, terms)["forward"].drop_nulls()) == {25_040.0}
    bars, terms = chain()
    stale = pl.when(pl.col("instrument_key") == "25000CE").then(pl.lit(300.0)).otherwise("close").alias("close")
    got = model(bars.with_columns(stale), terms)
    assert got["forward"].drop_nulls().to_list() == pytest.approx([FORWARD] * 10)


def test_without_a_pair_a_price_or_time_it_is_null() -> None:
    bars, terms = chain()
    calls = model(bars.filter(~pl.col("instrument_key").str.ends_with("PE")), terms)
    assert calls.select("forward", "iv_model").null_count().row(0) == (6, 6)
    unknown = pl.when(pl.col("instrument_key") == "24800CE").then(None).otherwise("close").alias("close")
    got = model(bars.with_columns(unknown), terms)
    [row] = got.filter(pl.col("instrument_key") == "24800CE").rows(named=True)
    assert row["iv_model"] is row["delta_model"] is None and row["forward"] == pytest.approx(FORWARD)
    worthless = pl.when(pl.col("instrument_key") == "25200CE").then(0.0).otherwise("close").alias("close")
    assert model(bars.with_columns(worthless), terms)["iv_model"].null_count() == 2  # it, and INFY
    last = datetime(2026, 1, 8, 9, 59, tzinfo=UTC)
    assert model(bars.with_columns(bucket=pl.lit(last)), terms)["iv_model"].null_count() == bars.height
    before = model(bars.with_columns(bucket=pl.lit(last - timedelta(minutes=1))), terms)
    assert before["iv_model"].null_count() < bars.height


def test_no_option_and_no_row_are_fine_and_wrong_frames_are_named() -> None:
    bars, terms = chain()
    assert model(bars.head(0), terms).columns == [*bars.columns, *MODEL]
    assert model(bars.tail(1), terms)["iv_model"].to_list() == [None]
    with pytest.raises(ConfigError, match="no column 'expiry'"):
        model(bars, terms.drop("expiry"))
