"""Judge alarms by the truth of spikes that the simulator planted. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from analytics.evaluation.intervals import share
from analytics.evaluation.planted_events.power import WITHIN
from analytics.schema import KEY, TIME
from ingest.errors import ConfigError

COLUMNS = (KEY, "class", "bucket", "kind")
AFTERWARDS = timedelta(minutes=65)  # a later alarm may still be the event's: a window and the quiet minutes


def read_truth(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return the truth of `tickline simulate --truth`: instrument_key, class, bucket and kind of each planted spike.

    Raises
    ------
    ConfigError
        If a row has not these fields, or a time is none.
    """
    try:
        frame = pl.DataFrame(
            [{name: row[name] for name in COLUMNS} for row in rows], schema=dict.fromkeys(COLUMNS, pl.String)
        )
        return frame.with_columns(pl.col("bucket").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC").cast(TIME))
    except (KeyError, TypeError, pl.exceptions.PolarsError) as exc:
        raise ConfigError(
            f"truth of planted spikes is not readable: {exc!r:.80}: give the file of `tickline simulate --truth`"
        ) from exc


def judge_truth(onset: pl.DataFrame, truth: pl.DataFrame, instrument_days: int) -> dict[str, Any]:
    """Return which share of planted spikes has an alarm that begins within five minutes, by class and kind.

    Parameters
    ----------
    onset
        instrument_key and bucket of the alarms.
    truth
        From `read_truth`.
    instrument_days
        How many were judged.

    Returns
    -------
    dict
        rows: class, kind, events, found (with Wilson's interval); other_alarms, and how many an instrument-day:
        those that begin outside of the 65 minutes after a planted spike.
    """
    pairs = truth.with_row_index("event").join(onset.select(KEY, alarm="bucket").with_row_index("number"), on=KEY)
    after = pl.col("alarm") - pl.col("bucket")
    found = pairs.filter((after >= timedelta(0)) & (after < WITHIN))["event"].unique()
    its = pairs.filter((after >= timedelta(0)) & (after < AFTERWARDS))["number"].n_unique()
    marked = truth.with_row_index("event").with_columns(is_found=pl.col("event").is_in(found.implode()))
    rows = []
    for (of, kind), some in sorted(marked.partition_by("class", "kind", as_dict=True).items()):
        hits = int(some["is_found"].sum())
        rows.append({"class": of, "kind": kind, "events": some.height, "found": share(hits, some.height).as_dict()})
    others = onset.height - its
    return {"rows": rows, "other_alarms": others, "other_alarms_per_day": others / instrument_days}
