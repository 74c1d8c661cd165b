"""Compare our bars with the vendor's minute by minute, and both with the day's volume.

Owns the definition of equal bars and the reasons for differences. Reads only the public relations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl
import psycopg

from analytics.market_time import MARKET_ZONE
from analytics.read.best_bars import unheard_quality
from analytics.read.copy_reader import read_frame
from ingest.database.connections import Database, check_schema, connect
from ingest.database.queries import query

PRICES = ("open", "high", "low", "close")
TICK_SIZE = 0.05  # rupees, if the master has none
READ_AT_ONCE = 200  # instruments; 75,000 minutes
SAME = 1e-6  # prices closer than this are equal: binary floats cannot hold all decimals
MOVED_REST = 0.1  # share of a volume difference that may remain after adding the neighbour's
# Columns of the queries with one row for each instrument.
FEW: dict[str, pl.DataType] = {"instrument_id": pl.Int32(), "instrument_key": pl.String(), "tick_size": pl.Float64()}
FEW |= dict.fromkeys(("bar_volume", "gap_volume", "day_volume"), pl.Int64())
# Reasons why a minute differs, in the order of the checks; the first that applies is the reason.
REASONS = {
    "equal": "all five figures equal the vendor's",
    "gap": "the feed was not received for a part of the minute",
    "partial": "recording began or stopped in the minute",
    "no candle": "the feed did not send the vendor's bar of this minute",
    "no tick": "none of our updates reports a trade in the minute",
    "auction": "bar of the opening auction, or the vendor's bar includes its volume",
    "moved": "a trade at the edge of the minute is counted in the next or previous bar",
    "skipped": "the feed skipped trades: volume is right, a price was not sent",
    "other": "none of these reasons",
}


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of a day's comparison.

    Attributes
    ----------
    minutes
        One row for each instrument and minute: both bars, `reason` (see `REASONS`), and if both bars
        exist `price_error_ticks` (largest of the four prices), `price_error_bp` (the same in hundredths
        of a percent of the close) and `volume_error` (ours minus the vendor's, units).
    instruments
        One row for each instrument, see `summarise`.
    """

    minutes: pl.DataFrame
    instruments: pl.DataFrame

    @property
    def close_share(self) -> float:
        """Share of completely received minutes with both bars whose closes are within one tick; 1 if there are none."""
        both = self.minutes.filter(pl.col("heard") & pl.col("volume_error").is_not_null())
        return float((both["close_error_ticks"] <= 1 + SAME).mean() or 0.0) if both.height else 1.0  # type: ignore[arg-type]

    @property
    def volumes_add_up(self) -> bool:
        """Whether bars + gaps equal the volume that the exchange counted, for every instrument."""
        return bool((self.instruments["unaccounted"].fill_null(0) == 0).all())

    def reasons(self) -> pl.DataFrame:
        """Count the minutes of each reason: reason, minutes, share (of all), meaning."""
        counted = self.minutes.group_by("reason").agg(pl.len().alias("minutes"))
        order = pl.DataFrame({"reason": list(REASONS), "meaning": list(REASONS.values())})
        share = (pl.col("minutes") / max(self.minutes.height, 1)).alias("share")
        return order.join(counted, on="reason", how="inner", maintain_order="left").select(
            "reason", "minutes", share, "meaning"
        )


def reconcile(day: date, database: Database, show: Callable[[int, int], None] = lambda _, __: None) -> Reconciliation:
    """Compare a market-local day.

    Parameters
    ----------
    show
        Called while bars are read, with the number of instruments that are done, and with that of all.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    start = datetime.combine(day, time(), MARKET_ZONE).astimezone(UTC)
    span = {"start": start, "end": start + timedelta(days=1)}
    url = database.complete_reader_url()
    with connect(url) as connection:
        check_schema(connection)
        instruments, volumes = (
            _few(connection, name, span) for name in ("reconcile/reconciled_instruments", "shared/day_volumes")
        )
        parts = list(_parts(instruments["instrument_id"].to_list()))
        cursor = psycopg.ClientCursor(connection)
        texts = [
            cursor.mogrify(query("reconcile/minutes_side_by_side"), span | {"instrument_ids": part}) for part in parts
        ]
    frames = []
    for done, text in enumerate(texts):
        show(min(done * READ_AT_ONCE, instruments.height), instruments.height)
        frames.append(read_frame(url, text))
    bars = pl.concat(frames).with_columns(unheard_quality().cast(pl.String).alias("unheard")).drop("is_gap")
    minutes = judge(bars.join(instruments, on="instrument_id"))
    return Reconciliation(minutes, summarise(minutes, volumes))


def _parts(ids: list[int]) -> Iterator[list[int] | None]:
    """Yield instruments as they are read at once; None: all."""
    if len(ids) <= READ_AT_ONCE:
        yield None
        return
    yield from (ids[first : first + READ_AT_ONCE] for first in range(0, len(ids), READ_AT_ONCE))


def _few(connection: psycopg.Connection[Any], name: str, span: dict[str, datetime]) -> pl.DataFrame:
    """Return the result of a query with few rows."""
    cursor = connection.execute(query(name), span)
    schema = {column.name: FEW[column.name] for column in cursor.description or ()}
    return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row")


def judge(bars: pl.DataFrame) -> pl.DataFrame:
    """Measure the errors of each minute and find their reason.

    Parameters
    ----------
    bars
        Columns of `sql/queries/reconcile/minutes_side_by_side.sql`, with `unheard` (gap, partial or null)
        instead of is_gap, and with instrument_key and tick_size (rupees).
    """
    errors = {name: (pl.col(name) - pl.col(f"official_{name}")).abs() for name in PRICES}
    tick = pl.col("tick_size").fill_null(TICK_SIZE)
    largest = pl.max_horizontal(*errors.values())
    # An index has no volume on either side.
    volume_error = (pl.col("volume").fill_null(0) - pl.col("official_volume").fill_null(0)).cast(pl.Int64)
    both = pl.col("close").is_not_null() & pl.col("official_close").is_not_null()
    frame = bars.sort("instrument_key", "bucket").with_columns(
        heard=pl.col("unheard").is_null(),
        price_error_ticks=(largest / tick).round(4),
        close_error_ticks=(errors["close"] / tick).round(4),
        price_error_bp=(largest / pl.col("official_close") * 10_000).round(4),
        volume_error=pl.when(both).then(volume_error),
    )
    auction = pl.col("volume").filter("auction").sum().over("instrument_key").fill_null(0)
    error, next_minute = pl.col("volume_error"), pl.duration(minutes=1)
    moved = pl.lit(value=False)
    for step in (1, -1):
        beside = error.shift(step).over("instrument_key")
        adjacent = pl.col("bucket").shift(step).over("instrument_key") == pl.col("bucket") - step * next_minute
        cancels = (error + beside).abs() <= MOVED_REST * error.abs()
        moved |= (adjacent & (error != 0) & cancels).fill_null(value=False)
    reason = (
        pl.when(both & (pl.col("price_error_ticks") < SAME) & (error == 0)).then(pl.lit("equal"))
        .when(~pl.col("heard")).then(pl.col("unheard"))
        .when(pl.col("official_close").is_null()).then(
            pl.when("auction").then(pl.lit("auction")).otherwise(pl.lit("no candle")))
        .when(pl.col("close").is_null()).then(pl.lit("no tick"))
        .when(pl.col("at_open") & (auction > 0) & (-error == auction)).then(pl.lit("auction"))
        .when(error == 0).then(pl.lit("skipped"))
        .when(moved).then(pl.lit("moved"))
        .otherwise(pl.lit("other"))
    )  # fmt: skip
    return frame.with_columns(reason=reason)


def summarise(minutes: pl.DataFrame, volumes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each instrument.

    Columns: instrument_key; minutes (with any bar) and both (with both bars, completely received). Of the latter:
    `open_equal` to `close_equal`, `volume_equal` and `all_equal`, the shares that are equal; `price_error_ticks` and
    `price_error_bp`, means of the largest price error; `volume_error`, the sum of absolute differences as a share of
    the volume. Then `no_tick`, `no_candle` and `unheard` (minutes); bar_volume, gap_volume, day_volume, and
    `unaccounted`, the part of day_volume in neither of the others (units).
    """
    whole = pl.col("heard") & pl.col("volume_error").is_not_null()
    equal = {name: ((pl.col(name) - pl.col(f"official_{name}")).abs() < SAME) for name in PRICES}
    equal["volume"] = pl.col("volume_error") == 0
    shares = [test.filter(whole).mean().alias(f"{name}_equal") for name, test in equal.items()]
    summary = minutes.group_by("instrument_key", maintain_order=True).agg(
        pl.len().alias("minutes"),
        whole.sum().alias("both"),
        *shares,
        pl.all_horizontal(*equal.values()).filter(whole).mean().alias("all_equal"),
        pl.col("price_error_ticks").filter(whole).mean(),
        pl.col("price_error_bp").filter(whole).mean(),
        (pl.col("volume_error").filter(whole).abs().sum() / pl.col("official_volume").filter(whole).sum()).alias(
            "volume_error"
        ),
        (pl.col("reason") == "no tick").sum().alias("no_tick"),
        (pl.col("reason") == "no candle").sum().alias("no_candle"),
        (~pl.col("heard")).sum().alias("unheard"),
    )
    accounts = volumes.with_columns(unaccounted=pl.col("day_volume") - pl.col("bar_volume") - pl.col("gap_volume"))
    return summary.join(accounts.drop("instrument_id"), on="instrument_key", how="left", maintain_order="left")
