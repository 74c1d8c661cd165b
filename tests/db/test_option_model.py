"""Own volatility of the recorded session beside the vendor's."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import polars as pl
import pytest

import analytics
from analytics.factors.option_model import model
from ingest.database.connections import Database
from ingest.pipeline.replay import replay
from ingest.settings import settings
from tests.engines import on_one_engine

# Of BANKNIFTY, 30 December 2025: the only pair gives the forward.
OPTIONS = {"51414": ("CE", 59_000.0), "51420": ("CE", 59_200.0), "51460": ("CE", 59_400.0), "51461": ("PE", 59_400.0)}
OPTIONS["60166"] = ("CE", 60_000.0)


@on_one_engine
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_own_volatility_is_the_vendors_and_steadier(
    database: Database, session: Path, short_session: Path, whole: bool
) -> None:
    asyncio.run(replay(settings(), database.url, [session if whole else short_session]))
    terms = pl.DataFrame(
        [(f"NSE_FO|{key}", "NSE_INDEX|Nifty Bank", *of, date(2025, 12, 30)) for key, of in OPTIONS.items()],
        ["instrument_key", "underlying_key", "instrument_type", "strike", "expiry"],
        orient="row",
    )
    bars = analytics.bars(terms["instrument_key"].to_list(), interval="1m", source="ticks", database=database)
    found = model(bars, terms).with_columns(points=100 * (pl.col("iv_model") - pl.col("iv")))
    known = found.drop_nulls("points")
    assert known.height > (1_700 if whole else 100) and known.height >= 0.98 * found.height
    assert known.select((pl.col("points").abs() <= 0.3).mean()).item() >= 0.98
    assert abs(known["points"].median()) < 0.05
    assert known.select((pl.col("delta_model") - pl.col("delta")).abs().median()).item() < 0.01
    steps = known.select(
        (pl.col(name).diff().over("instrument_key").abs().mean()).alias(name) for name in ("iv", "iv_model")
    ).row(0)
    assert steps[1] < 0.7 * steps[0]
