"""Spike detection: turn the factors of bars into signals with confidence, direction and reasons. Pure.

Owns how scores are combined and when a bar fires. Must not know where bars come from or where signals go.
"""

from __future__ import annotations

import polars as pl

from analytics.factors.checked_frames import Kind, checked
from analytics.schema import KEY, TIME
from analytics.signals.rules import DEFAULT, Rules

SIGNALS: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "bucket": TIME,  # start of the bar that fired
    "direction": pl.Enum(["up", "down"]),
    "confidence": pl.Float64(),  # 0 to 1
    "score": pl.Float64(),  # log-odds
    "close": pl.Float64(),  # close of the bar, rupees
    "move": pl.Float64(),  # over the window, fraction, negative when falling
    "volume_ratio": pl.Float64(),  # volume of the window over the average; null if volume is not known
    "price_score": pl.Float64(),
    "volume_score": pl.Float64(),
    "trades_score": pl.Float64(),
    "iv_score": pl.Float64(),
    "oi_score": pl.Float64(),
    "onset": pl.Boolean(),  # no bar of the instrument fired in the quiet minutes before
    "reasons": pl.String(),
}

# Columns of features that a signal is made of.
NEEDED: dict[str, Kind] = {
    KEY: "text",
    "bucket": "time",
    **dict.fromkeys(("close", "window_bars", "volume_x", "volume_mean", "move_x", "iv_x"), "number"),
    **dict.fromkeys((f"{name}_score" for name in ("volume", "trades", "move", "iv", "oi")), "number"),
    **dict.fromkeys(("rising", "oi_rising"), "flag"),
}
REMEDY = "give the result of analytics.features(), as analytics.spikes(analytics.features(bars))"


def log_odds(rules: Rules) -> pl.Expr:
    """Return the weighted sum of the scores.

    Null if the price, or both volume and implied volatility, are not above the average or not known. Volume replaces
    an unknown number of trades. Unknown oi is ignored.
    """
    weights = rules.weights
    volume = pl.col("volume_score")
    # Besides the price only the stronger score counts: they are not independent.
    activity = pl.max_horizontal(
        pl.when(volume >= rules.factor_min).then(
            weights.volume * volume + weights.trades * pl.coalesce("trades_score", "volume_score")
        ),
        pl.when(pl.col("iv_score") >= rules.factor_min).then(weights.iv * pl.col("iv_score")),
    )
    return pl.when(pl.col("move_score") >= rules.factor_min).then(
        rules.bias
        + pl.when(pl.col(KEY).str.contains("|", literal=True)).then(rules.exchange_points).otherwise(0.0)
        + weights.price * pl.col("move_score")
        + activity
        + weights.oi * pl.col("oi_score").fill_null(0)
    )


def spikes(features: pl.LazyFrame | pl.DataFrame, rules: Rules = DEFAULT) -> pl.DataFrame:
    """Return the bars that fire.

    Parameters
    ----------
    features
        Result of `analytics.features` or `analytics.factors.factors.factors`, sorted by instrument_key and bucket.
    rules
        Weights and limits.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `SIGNALS`, one row per bar that fires, sorted as given. A long spike fires in
        several bars; the first has onset. Bars of quality gap or partial have no scores and cannot fire.

    Raises
    ------
    ConfigError
        If `features` is not a frame, or a column is absent or of another kind.
    """
    since = pl.col("bucket").diff().over(KEY)
    fired = firing(checked(features, NEEDED, REMEDY), rules).with_columns(onset=is_onset(since, rules))
    return with_reasons(fired.collect())


def with_reasons(fired: pl.DataFrame) -> pl.DataFrame:
    """Return bars that fire, with their onset, as signals: the columns of `SIGNALS` including reasons."""
    # Rechunk, because Polars 2.1 panics when it concatenates text from chunks of which some are empty.
    return fired.rechunk().with_columns(reasons=_reasons()).select(*SIGNALS)


def is_onset(since: pl.Expr, rules: Rules) -> pl.Expr:
    """Return whether a firing bar begins a spike, given the time since the instrument's last firing bar."""
    return since.is_null() | (since > pl.duration(minutes=rules.quiet_minutes))


def firing(features: pl.LazyFrame, rules: Rules) -> pl.LazyFrame:
    """Return the bars that fire, without onset and reasons; see `spikes`."""
    score = log_odds(rules)
    sign = pl.when("rising").then(1).otherwise(-1)
    return (
        features.with_columns(score=score)
        .with_columns(confidence=1 / (1 + (-pl.col("score")).exp()))
        .filter(pl.col("confidence") >= rules.confidence_min)
        .with_columns(
            pl.col("bucket").cast(TIME),
            direction=pl.when("rising").then(pl.lit("up")).otherwise(pl.lit("down")).cast(SIGNALS["direction"]),
            move=(pl.col("move_x") * sign).exp() - 1,
            volume_ratio=pl.col("volume_x") / pl.col("volume_mean"),
            price_score=pl.col("move_score"),
        )
    )


def _reasons() -> pl.Expr:
    """Return the reasons of a signal as text: 'price 2.1 % in 5 bars (14 sd); volume 22 times the average ...'."""
    z = {name: (pl.col(f"{name}_score").exp() - 1).round(1) for name in ("price", "volume", "trades", "iv", "oi")}
    parts = [
        pl.format("price {} % in {} bars ({} sd)", (pl.col("move") * 100).round(2), pl.col("window_bars"), z["price"]),
        pl.format("volume {} times the average ({} sd)", pl.col("volume_ratio").round(1), z["volume"]),
        pl.when(pl.col("trades_score") > 0).then(pl.format("number of trades ({} sd)", z["trades"])),
        pl.when(pl.col("iv_score") > 0).then(
            pl.format("implied volatility changed by {} points ({} sd)", (pl.col("iv_x") * 100).round(2), z["iv"])
        ),
        pl.when(pl.col("oi_score") > 0).then(pl.format("open interest ({} sd): {}", z["oi"], _build_up())),
    ]
    return pl.concat_str(parts, separator="; ", ignore_nulls=True)


def _build_up() -> pl.Expr:
    """Return what price and open interest of the window indicate together, as in `indicators.build_up`."""
    up = pl.col("direction") == "up"
    return (
        pl.when("oi_rising")
        .then(pl.when(up).then(pl.lit("long build-up")).otherwise(pl.lit("short build-up")))
        .otherwise(pl.when(up).then(pl.lit("short covering")).otherwise(pl.lit("long unwinding")))
    )
