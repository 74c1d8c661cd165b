"""The class of an instrument (equity, index, future, option), and what others say of its bars. Pure."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from analytics.factors.market import CLASS_OF_TYPE, TERMS, Market
from analytics.market_time import market_day
from analytics.schema import KEY

CLASS = "instrument_class"  # the column, as detection knows it
CLASSES = ("equity", "index", "future", "option")


def with_market(bars: pl.DataFrame, terms: pl.DataFrame) -> pl.DataFrame:
    """Return bars of the database with what other instruments say of them, as the commands judge them.

    Parameters
    ----------
    terms
        The columns of `analytics.factors.market.TERMS`, from the relation `instruments`.
    """
    known = terms.select(pl.col(name).cast(kind) for name, kind in TERMS.items())
    last = bars["bucket"].max()
    assert isinstance(last, datetime)
    return Market(known).history(bars, market_day(last))


def class_of(bars: pl.DataFrame) -> dict[str, str]:
    """Return the class of each instrument.

    A column instrument_class or instrument_type (EQ, INDEX, FUT, CE, PE) says it. Otherwise the segment of the key
    does; in a segment of derivatives those with an implied volatility are options. A key of no segment is an equity,
    and whatever has no volume at all is an index.
    """
    known = set(bars.columns)
    said = [
        pl.col(name).drop_nulls().first().cast(pl.String).alias(f"said_{name}")
        for name in (CLASS, "instrument_type")
        if name in known
    ]
    facts = bars.group_by(KEY).agg(
        *said,
        has_iv=pl.col("iv").is_not_null().any() if "iv" in known else pl.lit(False),
        has_volume=(pl.col("volume") > 0).any() if "volume" in known else pl.lit(False),
    )
    return {row[KEY]: _class(row) for row in facts.iter_rows(named=True)}


def _class(row: dict[str, object]) -> str:
    said = row.get(f"said_{CLASS}") or CLASS_OF_TYPE.get(str(row.get("said_instrument_type")))
    if said is not None:
        return str(said)
    segment = str(row[KEY]).partition("|")[0]
    if segment.endswith("_INDEX") or not row["has_volume"]:
        return "index"
    if segment.endswith(("_FO", "NSE_COM")):
        return "option" if row["has_iv"] else "future"
    return "equity"
