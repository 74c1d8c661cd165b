"""Add to bars what the rest of the market says: class, underlying and its price, gamma of the chain, volume. Pure.

Owns how bars of one instrument get columns from bars of others, for a whole history and minute by minute with the same
result. Must not know what is done with them.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from analytics.factors import indicators as ta
from analytics.factors.windowed import computed, local_day
from analytics.schema import KEY

TERMS = {
    KEY: pl.String(),
    "instrument_type": pl.String(),
    "underlying_key": pl.String(),
    "strike": pl.Float64(),
    "expiry": pl.Date(),
}
# Class by instrument_type; shares have their series.
CLASS_OF_TYPE = dict.fromkeys(("CE", "PE"), "option") | {"FUT": "future", "INDEX": "index"}
CLASS_OF_TYPE |= dict.fromkeys(("EQ", "BE", "BZ", "SM", "ST"), "equity")
EPOCH = date(1970, 1, 1)
NONE = pl.lit(None, pl.Float64)
ADDED = ("instrument_class", "underlying_key", "spot", "chain_gamma")


class Market:
    """The instruments of a day and the newest values of each.

    Parameters
    ----------
    terms
        Columns and dtypes of `TERMS`, from the relation `instruments`.

    Attributes
    ----------
    keys
        Instruments whose terms are known.
    """

    def __init__(self, terms: pl.DataFrame) -> None:
        self._terms = terms.unique(KEY, keep="last").with_columns(
            instrument_class=pl.col("instrument_type").replace_strict(
                CLASS_OF_TYPE, default=None, return_dtype=pl.String
            )
        )
        self.keys = frozenset(self._terms[KEY])
        kinds = self._terms["instrument_class"]
        self._has_options = bool((kinds == "option").any())
        self._has_futures = bool((kinds == "future").any())
        self._indices = self._terms.filter(kinds == "index")[KEY]
        self._spots = pl.DataFrame(schema={KEY: pl.String(), "known_spot": pl.Float64()})
        self._sizes = pl.DataFrame(schema={KEY: pl.String(), "size": pl.Float64(), "underlying_key": pl.String()})

    def with_terms(self, terms: pl.DataFrame) -> Market:
        """Return the market with other terms: instruments have appeared during the day."""
        found = Market(terms)
        found._spots, found._sizes = self._spots, self._sizes
        return found

    def history(self, bars: pl.DataFrame, day: date) -> pl.DataFrame:
        """Return bars with `ADDED`, and remember the newest values of the day.

        Parameters
        ----------
        bars
            Columns of `analytics.schema.BARS`, sorted by instrument_key and bucket.

        Returns
        -------
        polars.DataFrame
            With instrument_class (null if not known), underlying_key, spot (rupees; of an option: the close of its
            underlying in the same minute, or where there was none as at the option's bar before), and chain_gamma
            (rupees a percent: gamma exposure of all calls less that of all puts of the underlying, each with its last
            bar of the day; on options, futures and the underlying). The volume of an index is that of its nearest
            future.
        """
        named = self._named(bars.lazy(), ["bucket"]).collect(engine="in-memory")
        spot = pl.coalesce("spot", pl.col("spot").forward_fill().over(KEY))
        named = named.with_columns(pl.when(pl.col("instrument_class") == "option").then(spot).alias("spot"))
        sized = named.filter(pl.col("instrument_class") == "option").with_columns(_day=local_day(), size=_gamma())
        grid = _filled(sized)
        today = sized.filter((pl.col("_day") == (day - EPOCH).days) & pl.col("size").is_not_null())
        self._sizes = today.group_by(KEY, maintain_order=True).last().select(self._sizes.columns)
        options = named.filter(pl.col("spot").is_not_null())
        self._spots = options.group_by(KEY, maintain_order=True).last().select(KEY, known_spot="spot")
        return self._with_gamma(named.lazy(), grid.lazy(), ["bucket"]).collect(engine="in-memory")

    def minute(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the same for the bars of the next minute of the day."""
        is_option = pl.col("instrument_class") == "option"
        named = self._named(bars.lazy(), [])
        if not self._has_options:
            return computed(named.with_columns(chain_gamma=NONE).drop("instrument_type", "strike"))
        named = named.join(self._spots.lazy(), on=KEY, how="left", maintain_order="left")
        named = named.with_columns(pl.when(is_option).then(pl.coalesce("spot", "known_spot")).alias("spot"))
        named = computed(named.drop("known_spot")).lazy()
        sized = computed(named.filter(is_option).with_columns(size=_gamma())).lazy()
        spots = named.filter(pl.col("spot").is_not_null()).select(KEY, known_spot="spot")
        sizes = sized.filter(pl.col("size").is_not_null()).select(self._sizes.columns)
        self._spots, self._sizes = computed(_newest(self._spots, spots)), computed(_newest(self._sizes, sizes))
        grid = self._sizes.lazy().group_by("underlying_key").agg(chain_gamma=pl.col("size").sum())
        seen = sized.select("underlying_key").unique()
        return computed(self._with_gamma(named, seen.join(grid, on="underlying_key", how="left"), []))

    def _named(self, bars: pl.LazyFrame, time: list[str]) -> pl.LazyFrame:
        """Return bars with class, underlying, spot where the underlying has a bar of the minute, volume of indices.

        Parameters
        ----------
        time
            The column that tells minutes apart; none: the bars are of one minute.
        """
        known = bars.join(self._terms.lazy(), on=KEY, how="left", maintain_order="left")
        if self._has_options:
            closes = bars.select(pl.col(KEY).alias("underlying_key"), *time, spot="close")
            known = known.join(closes, on=["underlying_key", *time], how="left", maintain_order="left")
        else:
            known = known.with_columns(spot=NONE)
        if not (self._has_futures and len(self._indices)):
            return known.drop("expiry")
        is_of_index = (pl.col("instrument_class") == "future") & pl.col("underlying_key").is_in(self._indices.implode())
        volumes = (
            known.filter(is_of_index)
            .sort("expiry", nulls_last=True)
            .group_by("underlying_key", *time, maintain_order=True)
            .agg(_volume=pl.col("volume").first())
            .rename({"underlying_key": KEY})
        )
        known = known.join(volumes, on=[KEY, *time], how="left", maintain_order="left")
        of_index = pl.when(pl.col("instrument_class") == "index").then(pl.coalesce("volume", "_volume"))
        return known.with_columns(volume=of_index.otherwise("volume")).drop("_volume", "expiry")

    def _with_gamma(self, named: pl.LazyFrame, grid: pl.LazyFrame, time: list[str]) -> pl.LazyFrame:
        """Return bars with the gamma exposure of their chain; see `_named`."""
        grid = grid.select(*time, "chain_gamma", _chain="underlying_key")
        joined = named.with_columns(_chain=pl.coalesce("underlying_key", KEY)).join(
            grid, on=["_chain", *time], how="left", maintain_order="left"
        )
        return joined.drop("_chain", "instrument_type", "strike")


def _gamma() -> pl.Expr:
    """Return the gamma exposure of an option, negative for puts."""
    size = ta.gamma_exposure("spot")
    return pl.when(pl.col("instrument_type") == "CE").then(size).otherwise(-size)


def _filled(sized: pl.DataFrame) -> pl.DataFrame:
    """Return the gamma exposure of each chain at each of its minutes: underlying_key, bucket, chain_gamma."""
    lazy = sized.lazy()
    times = lazy.select("underlying_key", "bucket", "_day").unique()
    names = lazy.filter(pl.col("size").is_not_null()).select(KEY, "underlying_key", "_day").unique()
    grid = times.join(names, on=["underlying_key", "_day"]).join(
        lazy.select(KEY, "bucket", "size"), on=[KEY, "bucket"], how="left"
    )
    filled = grid.sort(KEY, "bucket").with_columns(pl.col("size").forward_fill().over(KEY, "_day"))
    return filled.group_by("underlying_key", "bucket").agg(chain_gamma=pl.col("size").sum()).collect()


def _newest(known: pl.DataFrame, new: pl.LazyFrame) -> pl.LazyFrame:
    """Return the known values with new ones in their place."""
    return pl.concat([known.lazy().join(new, on=KEY, how="anti"), new])
