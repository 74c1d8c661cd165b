"""Spike detection: turn the factors of bars into signals with confidence, direction and reasons. Pure.

Owns how scores are combined and when a bar fires. Must not know where bars come from or where signals go.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import log1p

import polars as pl

from analytics.factors.checked_frames import Kind, checked
from analytics.factors.factors import CONTEXT, WEIGHTED
from analytics.factors.windowed import computed
from analytics.schema import KEY, TIME
from analytics.signals.calibration import Calibration
from analytics.signals.columns import CLASS, DIRECTION, SIGNALS
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.rules import CLASSES, DEFAULT, InstrumentClass, Rules

# Columns of features that a signal is made of.
NEEDED: dict[str, Kind] = {
    KEY: "text",
    "bucket": "time",
    **dict.fromkeys(("close", "window_bars", "volume_x", "volume_mean", "move_x", "iv_x"), "number"),
    **dict.fromkeys((f"{name}_score" for name in WEIGHTED), "number"),
    **dict.fromkeys(("rising", "oi_rising"), "flag"),
}
OPTIONAL: dict[str, Kind] = {
    **dict.fromkeys((f"{name}_score" for name in CONTEXT), "number"),
    **dict.fromkeys(("instrument_class", "underlying_key"), "text"),
    **dict.fromkeys(("delta", "iv", "range_x", "day_x", "rsi_x", "hedged_x", "breadth_x"), "number"),
    "gamma_flips": "flag",
}
STANDS_OUT = 0.69  # score from which a factor of the context is named: 1 standard deviation
REMEDY = "give the result of analytics.features(), as analytics.spikes(analytics.features(bars))"


def instrument_class(known: set[str]) -> pl.Expr:
    """Return the class of each bar: the column instrument_class, or where not known what key and columns indicate.

    Keys without '|' are other; an option has greeks; a derivative without is a future; and what never had volume is an
    index.
    """
    key = pl.col(KEY)
    told = pl.col("instrument_class").cast(CLASS) if "instrument_class" in known else pl.lit(None, CLASS)
    greeks = [pl.col(name).is_not_null() for name in ("iv", "delta") if name in known] or [pl.lit(False)]
    return (
        pl.when(told.is_not_null())
        .then(told.cast(pl.String))
        .when(~key.str.contains("|", literal=True))
        .then(pl.lit("other"))
        .when(pl.any_horizontal(greeks))
        .then(pl.lit("option"))
        .when(key.str.contains("(?:FO|COM|CURR)[A-Z]*\\|"))
        .then(pl.lit("future"))
        .when(key.str.contains("INDEX") | (pl.col("volume_mean").fill_null(0) <= 0))
        .then(pl.lit("index"))
        .otherwise(pl.lit("equity"))
        .cast(CLASS)
    )


def log_odds(
    rules: Rules, known: set[str], classes: Sequence[InstrumentClass] = CLASSES, *, name: pl.Expr | None = None
) -> pl.Expr:
    """Return the weighted sum of the scores, with the weights of the class, of which there are no others than given.

    Null if the price, or every first factor of a set that confirms, is less than `factor_min` above the average or not
    known. Volume replaces an unknown number of trades; any other unknown factor adds nothing.

    Parameters
    ----------
    name
        The class, where it is a column already; finding it out costs as much as the sum.
    """
    name = instrument_class(known) if name is None else name
    parts = [pl.when(name == one).then(class_log_odds(rules, one, known)) for one in classes]
    wider = rules.wider_bars * pl.col("bar_minutes").log() if "bar_minutes" in known else pl.lit(0.0)
    return pl.when(pl.col("move_score") >= rules.factor_min).then(pl.coalesce(parts) + wider)


def class_log_odds(rules: Rules, name: InstrumentClass, known: set[str]) -> pl.Expr:
    """Return the weighted sum for one class, null if nothing confirms the price."""
    weights = rules.of_class(name)
    few = (1 + rules.windows.doubt_bars / pl.col("move_count")).log()
    given_back = weights.early * few if weights.early and "move_count" in known else pl.lit(0.0)
    own = weights.bias + weights.price * pl.col("move_score") + confirmation(rules, name, known)
    return own + _added(weights.support, known) + given_back


def confirmation(rules: Rules, name: InstrumentClass, known: set[str]) -> pl.Expr:
    """Return what the set that confirms most adds to the log-odds of a class, null if none confirms."""
    sets = [(next(iter(factors)), factors) for factors in rules.of_class(name).confirm]
    least = {"move": max(rules.factor_min, log1p(rules.of_class(name).alone_from))}
    confirming = [
        pl.when(pl.col(f"{first}_score") >= least.get(first, rules.factor_min)).then(_added(factors, known))
        for first, factors in sets
        if f"{first}_score" in known
    ]
    return pl.max_horizontal(confirming) if confirming else pl.lit(None, pl.Float64)


def _added(factors: dict[str, float], known: set[str]) -> pl.Expr:
    """Return the weighted sum of the factors that are known."""
    terms = [weight * _score(one).fill_null(0) for one, weight in factors.items() if f"{one}_score" in known]
    return pl.sum_horizontal(terms) if terms else pl.lit(0.0)


def _score(name: str) -> pl.Expr:
    """Return the score of a factor."""
    return pl.coalesce("trades_score", "volume_score") if name == "trades" else pl.col(f"{name}_score")


def spikes(
    features: pl.LazyFrame | pl.DataFrame, rules: Rules = DEFAULT, calibration: Calibration | None = None
) -> pl.DataFrame:
    """Return the bars that fire.

    Parameters
    ----------
    features
        Result of `analytics.features` or `analytics.factors.factors.factors`, sorted by instrument_key and bucket.
        Only with `extended=True` do the factors of the context have a say, as in the commands. With
        instrument_class and underlying_key, classes are known and what fires together is one event.
    rules
        Weights and limits.
    calibration
        How rare scores are among these instruments, from `analytics.signals.calibration`; None: as the rules assume.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `SIGNALS`, one row per bar that fires, sorted as given. A long spike fires in
        several bars; the first of an event has onset, and of several instruments the one of highest confidence. Bars of
        quality gap or partial have no scores and cannot fire.

    Raises
    ------
    ConfigError
        If `features` is not a frame, or a column is absent or of another kind.
    """
    found = candidates(checked(features, NEEDED, REMEDY, known=OPTIONAL), rules).collect()
    return with_events(fire(found, rules, calibration), EventBuilder(rules))


def has_moved(rules: Rules) -> pl.Expr:
    """Return whether a bar could fire, by its price alone."""
    return pl.col("move_score") >= rules.factor_min


def candidates(features: pl.LazyFrame, rules: Rules, also: Sequence[str] = ()) -> pl.LazyFrame:
    """Return the bars that could fire, with the weighted sum of their scores as raw, and what a signal is made of.

    Parameters
    ----------
    also
        Further columns to return.
    """
    known = set(features.collect_schema().names())
    weighed, shown = weighing(rules, known)
    moved = features.filter(has_moved(rules)).with_columns(instrument_class=instrument_class(known))
    return moved.with_columns(weighed).filter(pl.col("raw").is_not_null()).select(*shown, *also)


def weighing(
    rules: Rules, known: set[str], classes: Sequence[InstrumentClass] = CLASSES
) -> tuple[list[pl.Expr], list[str]]:
    """Return what `candidates` adds to bars of known class, and the columns that it returns.

    Parameters
    ----------
    known
        Names of the columns of the bars.
    classes
        The classes that there are among the bars: of few rows, computing expressions is most of the work.
    """
    # Factors that are not among the columns are not known.
    absent = [name for name in OPTIONAL if name not in known and OPTIONAL[name] != "text"]
    added = [pl.lit(None, pl.Boolean if OPTIONAL[name] == "flag" else pl.Float64).alias(name) for name in absent]
    grouped = pl.coalesce("underlying_key", KEY) if "underlying_key" in known else pl.col(KEY)
    added.append(log_odds(rules, known, classes, name=pl.col("instrument_class")).alias("raw"))
    added.append(grouped.alias("event_key"))
    own = [name for name in (*NEEDED, *OPTIONAL) if OPTIONAL.get(name) != "text"]
    return added, [*own, "instrument_class", "raw", "event_key"]


def fire(found: pl.DataFrame, rules: Rules, calibration: Calibration | None = None) -> pl.DataFrame:
    """Return those candidates that fire, with all of `SIGNALS` but onset and members; see `spikes`."""
    calibration = calibration or Calibration()
    score = calibration.log_odds(found)
    confidence = 1 / (1 + (-score).exp())
    fires = confidence >= max(rules.confidence_min, calibration.confidence_min)
    shown = {name: kind for name, kind in SIGNALS.items() if name not in ("onset", "members")}
    if not fires.any():
        return pl.DataFrame(schema=shown)
    sign = pl.when("rising").then(1).otherwise(-1)
    fired = computed(
        found.with_columns(score, confidence.alias("confidence"))
        .filter(fires)
        .lazy()
        .with_columns(
            pl.col("bucket").cast(TIME),
            direction=pl.when("rising").then(pl.lit("up")).otherwise(pl.lit("down")).cast(DIRECTION),
            move=(pl.col("move_x") * sign).exp() - 1,
            volume_ratio=pl.col("volume_x") / pl.col("volume_mean"),
            price_score=pl.col("move_score"),
            severity=_severity(rules),
        )
    )
    # Rechunk, because Polars 2.1 panics when it concatenates text from chunks of which some are empty.
    return computed(fired.rechunk().lazy().with_columns(reasons=_reasons()).select(*shown))


def _severity(rules: Rules) -> pl.Expr:
    """Return how severe a signal is, by its confidence."""
    confidence = pl.col("confidence")
    return (
        pl.when(confidence >= rules.severities["high"])
        .then(pl.lit("high"))
        .when(confidence >= rules.severities["medium"])
        .then(pl.lit("medium"))
        .otherwise(pl.lit("low"))
        .cast(SIGNALS["severity"])
    )


@cache
def _reasons() -> pl.Expr:
    """Return the reasons of a signal in a trader's words: 'price up 2.1 % in 5 bars (14 sd); with the trend ...'.

    sd: standard deviations above the instrument's own average.
    """

    def sd(name: str) -> pl.Expr:
        return (pl.col(f"{name}_score").exp() - 1).round(1)

    def if_out(name: str, text: pl.Expr) -> pl.Expr:
        return pl.when(pl.col(f"{name}_score") > STANDS_OUT).then(text)

    is_up = pl.col("direction") == "up"
    rsi = (50 + pl.when(is_up).then(50).otherwise(-50) * pl.col("rsi_x")).round(0).cast(pl.Int64)
    of_index = pl.col("instrument_class") == "index"
    volume = pl.when(of_index).then(pl.lit("volume of its future")).otherwise(pl.lit("volume"))
    parts = [
        pl.format("price {} {} % in {} bars ({} sd)", pl.col("direction").cast(pl.String),
                  (pl.col("move").abs() * 100).round(2), pl.col("window_bars"), sd("move")),
        pl.format("{} {} times the average ({} sd)", volume, pl.col("volume_ratio").round(1), sd("volume")),
        if_out("day", pl.format("{} times what is usual at this time", pl.col("day_x").round(1))),
        pl.when(pl.col("trades_score") > 0).then(pl.format("number of trades ({} sd)", sd("trades"))),
        pl.when(pl.col("iv_score") > 0).then(
            pl.format("implied volatility changed by {} points ({} sd)", (pl.col("iv_x") * 100).round(2), sd("iv"))
        ),
        if_out("hedged", pl.format("more than its delta explains ({} sd)", sd("hedged"))),
        pl.when(pl.col("oi_score") > 0).then(pl.format("open interest ({} sd): {}", sd("oi"), _build_up())),
        pl.when("gamma_flips").then(pl.lit("gamma of the chain changed its sign")),
        if_out("range", pl.format("range {} times the average", pl.col("range_x").round(1))),
        if_out("breadth",
            pl.format("{} % of shares with it", (50 + 50 * pl.col("breadth_x")).round(0).cast(pl.Int64))
        ),
        if_out("trend", pl.lit("with the trend")),
        pl.when(pl.col("rsi_x") >= 0.4).then(pl.format("RSI {}", rsi)),
    ]  # fmt: skip
    return pl.concat_str(parts, separator="; ", ignore_nulls=True)


def _build_up() -> pl.Expr:
    """Return what price and open interest of the window indicate together, as in `indicators.build_up`."""
    up = pl.col("direction") == "up"
    return (
        pl.when("oi_rising")
        .then(pl.when(up).then(pl.lit("long build-up")).otherwise(pl.lit("short build-up")))
        .otherwise(pl.when(up).then(pl.lit("short covering")).otherwise(pl.lit("long unwinding")))
    )
