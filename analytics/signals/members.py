"""The event that a signal stands for: its severity, and the other instruments that fired with it. Pure.

Owns the columns of both, and how members are written into the database. Must not know which instruments belong
together, nor how severe an event is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from analytics.schema import KEY, TIME

SEVERITIES = ("low", "medium", "high")
MEMBER: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "trading_symbol": pl.String(),
    "bucket": TIME,  # start of the bar that fired
    "direction": pl.String(),
    "confidence": pl.Float64(),  # 0 to 1
    "reasons": pl.String(),
}
EVENT: dict[str, pl.DataType] = {
    "severity": pl.Enum(SEVERITIES),  # null: not known
    "members": pl.List(pl.Struct(MEMBER)),  # of the same underlying, without the instrument of the signal; null: none
}


def member_keys(signals: pl.DataFrame) -> list[str]:
    """Return the instrument_keys of all members."""
    return [one[KEY] for row in signals["members"] if row is not None for one in row]


def named(signals: pl.DataFrame, symbols: Mapping[str, str | None]) -> pl.DataFrame:
    """Return signals whose members have their trading_symbol, by instrument_key."""
    rows = [
        None if row is None else [one | {"trading_symbol": symbols.get(one[KEY])} for one in row]
        for row in signals["members"].to_list()
    ]
    return signals.with_columns(pl.Series("members", rows, dtype=EVENT["members"]))


def as_json(signals: pl.DataFrame, ids: Mapping[str, int]) -> list[str | None]:
    """Return the members of each signal as the database keeps them, with instrument_id by instrument_key."""
    texts: list[str | None] = []
    for row in signals["members"].to_list():
        written = [
            {"instrument_id": ids[one[KEY]]} | one | {"bucket": f"{one['bucket']:%Y-%m-%dT%H:%M:%SZ}"}
            for one in row or ()
        ]
        texts.append(json.dumps(written) if written else None)
    return texts
