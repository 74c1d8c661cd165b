"""What became of signals, in figures. Pure.

Owns what counts as held: a direction held if the price had moved on in it by then. A price that did not move has not
held. An outcome that is not known yet, or after which nothing was traded, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analytics.evaluation.intervals import share

HORIZONS = (5, 15, 60)  # minutes
CLASSES = ("equity", "index", "future", "option")
TOTAL = "all"
SUMMARY: dict[str, pl.DataType] = {
    "rule_set": pl.String(),
    "class": pl.String(),  # of CLASSES, or TOTAL
    "signals": pl.Int64(),
    "right": pl.Int64(),  # labels
    "wrong": pl.Int64(),
}
for _horizon in HORIZONS:
    SUMMARY |= {
        f"known_{_horizon}m": pl.Int64(),  # signals with an outcome
        f"held_{_horizon}m": pl.Float64(),  # share of them whose direction held
        f"held_{_horizon}m_low": pl.Float64(),  # Wilson's 95 % interval
        f"held_{_horizon}m_high": pl.Float64(),
        f"median_{_horizon}m": pl.Float64(),  # move in the direction of the signal, fraction
    }


def with_moves(signals: pl.DataFrame) -> pl.DataFrame:
    """Return signals with `moved_5m`, `moved_15m` and `moved_60m`: the outcome in the direction of the signal.

    They are fractions, negative where the price turned. Needs direction, after_5m, after_15m and after_60m.
    """
    sign = pl.when(pl.col("direction") == "up").then(1.0).otherwise(-1.0)
    return signals.with_columns(
        # Adding 0 makes the move of a price that did not move 0, not -0.
        (sign * pl.col(f"after_{horizon}m") + 0.0).alias(f"moved_{horizon}m")
        for horizon in HORIZONS
    )


def summary(signals: pl.DataFrame) -> pl.DataFrame:
    """Return the figures of each rule set: of each class that has signals, and of all together.

    Parameters
    ----------
    signals
        Columns rule_set, class, verdict, and those of `with_moves`.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `SUMMARY`, by rule set, then classes in the order of `CLASSES`, then their total.
    """
    rows = []
    for rule_set in signals["rule_set"].unique().sort():
        of_rules = signals.filter(pl.col("rule_set") == rule_set)
        for name, part in _parts(of_rules):
            rows.append({"rule_set": rule_set, "class": name} | _figures(part))
    return pl.DataFrame(rows, schema=SUMMARY)


def best_and_worst(signals: pl.DataFrame, number: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the signals after which the price moved most in their direction, and most against it, by 15 minutes.

    A signal whose outcome after 15 minutes is not known is judged by that after 5. An event that several rule sets
    found is taken once. None is in both: half of few signals are the best.

    Parameters
    ----------
    signals
        As `with_moves` returns them.
    number
        How many of each at most.
    """
    known = (
        signals.with_columns(moved=pl.coalesce("moved_15m", "moved_5m"))
        .filter(pl.col("moved").is_not_null())
        .unique(["instrument_id", "bucket"], keep="first", maintain_order=True)
        .sort("moved", descending=True, maintain_order=True)
    )
    best = known.head(min(number, (known.height + 1) // 2))
    worst = known.tail(min(number, known.height // 2)).reverse()
    return best, worst


def _parts(signals: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    for name in CLASSES:
        part = signals.filter(pl.col("class") == name)
        if not part.is_empty():
            yield name, part
    yield TOTAL, signals


def _figures(signals: pl.DataFrame) -> dict[str, float | int | None]:
    found: dict[str, float | int | None] = {
        "signals": signals.height,
        "right": int((signals["verdict"] == "right").sum()),
        "wrong": int((signals["verdict"] == "wrong").sum()),
    }
    for horizon in HORIZONS:
        moved = signals[f"moved_{horizon}m"].drop_nulls()
        held = share(int((moved > 0).sum()), moved.len())
        found |= {
            f"known_{horizon}m": moved.len(),
            f"held_{horizon}m": held.value,
            f"held_{horizon}m_low": held.low,
            f"held_{horizon}m_high": held.high,
            f"median_{horizon}m": moved.median(),  # type: ignore[dict-item]
        }
    return found
