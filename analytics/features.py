"""Features: one lazy frame with every indicator of every bar, and the factors that spikes are made of.

Owns where a window must end. A *run* is a stretch of bars of one instrument that windows may span: it ends
at a bar of quality `gap` or `partial`, which stands alone, and where bars are missing for days. Averages of
prices run on over night, as traders have them; what compares volumes or counts minutes ends with the
session. Pure: bars in, columns out.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics import indicators as ta
from analytics.session import MARKET_ZONE

KEY = "instrument_key"
RUN = "run"  # number of the run, unique among all instruments
STRETCH = "stretch"  # the same, and ended by the session
BAD = ("gap", "partial")  # qualities of bars whose numbers may be of a part of the minute, or of several
ABSENCE_MAX = timedelta(days=5)  # over a long weekend windows go on, over a lost week not
BLOCK = timedelta(minutes=15)  # what is usual is kept by block, so that a minute need not look at days
BLOCKS = 96  # about four sessions of an exchange, one day of a market that never closes
BASELINE_BARS_MIN = 30
USUAL_DAYS, USUAL_DAYS_MIN = 5, 3
REACH = (3, 5)  # bars that a move may take, beside one

_OPTIONAL = {"oi": pl.Float64, "iv": pl.Float64, "delta": pl.Float64, "gamma": pl.Float64, "spot": pl.Float64,
             "trades": pl.Float64, "quality": pl.String}  # fmt: skip


def features(bars: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    """Return bars with all indicators and factors beside them.

    Parameters
    ----------
    bars
        instrument_key, bucket (Datetime), open, high, low, close, volume; as `analytics.bars` returns them.
        Optional: quality, oi, trades, iv, delta, gamma, spot (price of the underlying, rupees), and
        `session` (any value that is the same within one; default the day in India).

    Returns
    -------
    polars.LazyFrame
        The rows of `bars` sorted by instrument_key and bucket, their columns and: run, stretch; sma_, ema_
        (20, 50, 200), rsi_14, atr_14, roc_10, momentum_10, bollinger_low, _mid, _high, close_z_20,
        close_robust_z_20 over the run; vwap over the session; volume_ratio_20, volume_z_20 within session
        and run; volume_same_time; iv_change, oi_change, build_up, delta_exposure, gamma_exposure; and the
        columns of `factors`. Null: the warm-up, what the instrument has not, and what cannot be told.
    """
    prepared = factors(prepare(bars))
    close, volume = pl.col("close"), pl.col("volume")
    low, middle, high = ta.bollinger(close)
    over_run = {
        **{f"sma_{n}": ta.sma(close, n) for n in (20, 50, 200)},
        **{f"ema_{n}": ta.ema(close, n) for n in (20, 50, 200)},
        "rsi_14": ta.rsi(close),
        "atr_14": ta.atr(),
        "roc_10": ta.roc(close, 10),
        "momentum_10": ta.momentum(close, 10),
        "bollinger_low": low,
        "bollinger_mid": middle,
        "bollinger_high": high,
        "close_z_20": ta.zscore(close, 20),
        "close_robust_z_20": ta.robust_zscore(close, 20),
    }
    over_stretch = {"volume_ratio_20": ta.volume_ratio(volume, 20), "volume_z_20": ta.zscore(volume, 20)}
    return prepared.with_columns(
        **{name: expr.over(RUN) for name, expr in over_run.items()},
        **{name: expr.over(STRETCH) for name, expr in over_stretch.items()},
        vwap=ta.vwap().over("sitting"),
        build_up=ta.build_up(pl.col("return"), pl.col("oi_change")),
        delta_exposure=ta.delta_exposure(),
        gamma_exposure=ta.gamma_exposure(pl.col("spot")),
        volume_same_time=pl.when(pl.col("usual_volume") > 0).then(volume / pl.col("usual_volume")),
    )


def prepare(bars: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    """Return bars sorted, with session, run and stretch, the optional columns, and moves from bar to bar."""
    names = bars.collect_schema().names()
    frame = bars.lazy().with_columns(
        *(pl.lit(None, dtype=dtype).alias(name) for name, dtype in _OPTIONAL.items() if name not in names),
        *(pl.col(name).cast(dtype) for name, dtype in _OPTIONAL.items() if name in names),
        pl.col("volume").cast(pl.Float64),
    )
    if "session" not in names:
        frame = frame.with_columns(session=_local().dt.date())
    before = pl.col("bucket").shift(1)
    new_key = (pl.col(KEY) != pl.col(KEY).shift(1)).fill_null(value=True)
    new_session = new_key | (pl.col("session") != pl.col("session").shift(1)).fill_null(value=True)
    bad = pl.col("quality").is_in(BAD).fill_null(value=False)
    new_run = new_key | bad | bad.shift(1, fill_value=False) | (pl.col("bucket") - before > ABSENCE_MAX)
    numbered = frame.sort(KEY, "bucket").with_columns(
        run=new_run.cum_sum().set_sorted(),
        stretch=(new_run | new_session).cum_sum().set_sorted(),
        sitting=new_session.cum_sum().set_sorted(),
        bad=bad,
    )
    return numbered.with_columns(**_moves())


def _local() -> pl.Expr:
    """Return the bucket in market-local time; a time without a zone is in UTC."""
    return pl.col("bucket").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(MARKET_ZONE.key)


def _moves() -> dict[str, pl.Expr]:
    """Return logarithmic moves: of the close, and the farthest up and down of the bar from the closes before it."""
    close, high, low = pl.col("close"), pl.col("high"), pl.col("low")
    # From the last close, also over night; from those before it only within the session.
    earlier = [close.shift(1).over(RUN), *(close.shift(n).over(STRETCH) for n in REACH)]
    changes = {f"{name}_change": ta.change(name).over(RUN) for name in ("iv", "oi")}
    return {
        "return": (close / earlier[0]).log(),
        "up": (high / pl.min_horizontal(earlier)).log(),
        "down": (pl.max_horizontal(earlier) / low).log(),
        "iv_move": ta.relative_change("iv").over(STRETCH),
        "oi_move": ta.relative_change("oi").over(STRETCH),
        **changes,
    }


def baselines(prepared: pl.LazyFrame) -> pl.LazyFrame:
    """Return what was usual before each block of 15 minutes, from the `BLOCKS` blocks with bars before it.

    Returns
    -------
    polars.LazyFrame
        A row an instrument and block, one more than it has: that which comes next has a null block.
        base_bars, base_volume, base_trades (means of a bar, also of those without trades), base_move (root
        mean square of returns within sessions, a minute), base_spread (standard deviation of the logarithm
        of volume), base_iv, base_oi (root mean square of relative changes).
    """
    good = ~pl.col("bad")
    inside = good & (pl.col("stretch") == pl.col("stretch").shift(1))
    traded = good & (pl.col("volume") > 0)
    logs = pl.when(traded).then(pl.col("volume").log())
    sums = prepared.group_by(KEY, pl.col("bucket").dt.truncate(BLOCK).alias("block"), maintain_order=True).agg(
        bars=good.sum(),
        volume=pl.col("volume").filter(good).sum(),
        trades=pl.col("trades").filter(good).sum(),
        square=pl.when(inside).then(pl.col("return") ** 2).sum(),
        moves=pl.when(inside).then(pl.col("return")).count(),
        logs=logs.count(),
        log=logs.sum(),
        log_square=(logs**2).sum(),
        iv_square=(pl.when(good).then(pl.col("iv_move")) ** 2).sum(),
        iv_count=pl.when(good).then(pl.col("iv_move")).count(),
        oi_square=(pl.when(good).then(pl.col("oi_move")) ** 2).sum(),
        oi_count=pl.when(good).then(pl.col("oi_move")).count(),
    )
    names = [name for name in sums.collect_schema().names() if name not in (KEY, "block")]
    total = sums.select(
        KEY, "block", *(pl.col(name).cast(pl.Float64).rolling_sum(BLOCKS, min_samples=1).over(KEY) for name in names)
    )
    mean_log = pl.col("log") / pl.col("logs")
    return total.select(
        KEY,
        block=pl.col("block").shift(-1).over(KEY),
        base_bars=pl.col("bars"),
        base_volume=pl.col("volume") / pl.col("bars"),
        base_trades=pl.col("trades") / pl.col("bars"),
        base_move=(pl.col("square") / pl.col("moves")).sqrt(),
        base_spread=(pl.col("log_square") / pl.col("logs") - mean_log**2).clip(lower_bound=0).sqrt(),
        base_iv=(pl.col("iv_square") / pl.col("iv_count")).sqrt(),
        base_oi=(pl.col("oi_square") / pl.col("oi_count")).sqrt(),
    )


def usual(prepared: pl.LazyFrame) -> pl.LazyFrame:
    """Return bars with the median volume and move of their time of day on up to five earlier days.

    usual_volume (units) and usual_move (the larger of up and down, logarithmic); null before the fourth day.
    """
    good = ~pl.col("bad")
    expressions = {"usual_volume": pl.col("volume"), "usual_move": pl.max_horizontal("up", "down")}
    return prepared.with_columns(time=_local().dt.time()).with_columns(
        pl.when(good)
        .then(expr)
        .rolling_median(USUAL_DAYS, min_samples=USUAL_DAYS_MIN)
        .shift(1)
        .over(KEY, "time")
        .alias(name)
        for name, expr in expressions.items()
    )


def factors(prepared: pl.LazyFrame, base: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """Return prepared bars with the factors of spikes, each the larger the more unusual, 0 as usual.

    Parameters
    ----------
    prepared
        From `prepare`; with usual_volume and usual_move where they are known already.
    base
        From `baselines`; None: of these bars.

    Returns
    -------
    polars.LazyFrame
        With usual_volume, usual_move, the base_ columns, and
        activity: log of volume over the larger of its baselines, in deviations of log volume; where trades
        are counted, the mean of that and the same of trades, because one large order is no crowd;
        jump: log of the move over the larger of its baselines;
        iv_jump, oi_jump: log of the relative change over the root mean square of those before;
        direction: 1 up, -1 down. Null where a baseline is missing, or the bar is a gap or partial.
    """
    if "usual_volume" not in prepared.collect_schema().names():
        prepared = usual(prepared)
    base = baselines(prepared) if base is None else base
    frame = prepared.with_columns(block=pl.col("bucket").dt.truncate(BLOCK)).join(
        base, on=[KEY, "block"], how="left", maintain_order="left"
    )
    known = ~pl.col("bad") & (pl.col("base_bars") >= BASELINE_BARS_MIN)
    move = pl.max_horizontal("up", "down")
    volume = _log_ratio(pl.col("volume"), pl.max_horizontal("base_volume", "usual_volume"))
    trades = _log_ratio(pl.col("trades"), pl.col("base_trades"))
    crowd = pl.when(trades.is_null()).then(volume).otherwise((volume + trades) / 2)
    jumps = {f"{name}_jump": _log_ratio(pl.col(f"{name}_move").abs(), pl.col(f"base_{name}")) for name in ("iv", "oi")}
    return frame.with_columns(
        activity=pl.when(known & (pl.col("base_spread") > 0)).then(crowd / pl.col("base_spread")),
        jump=pl.when(known).then(_log_ratio(move, pl.max_horizontal("base_move", "usual_move"))),
        direction=pl.when(pl.col("up") >= pl.col("down")).then(1).otherwise(-1),
        **{name: pl.when(known).then(expr) for name, expr in jumps.items()},
    )


def _log_ratio(value: pl.Expr, usual_value: pl.Expr) -> pl.Expr:
    """Return the logarithm of a ratio, null where either is not above 0."""
    return pl.when((value > 0) & (usual_value > 0)).then((value / usual_value).log())
