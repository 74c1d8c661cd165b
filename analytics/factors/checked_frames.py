"""Check that a caller's frame has the required columns, with a one-line error if not. Pure.

Owns the check and its error texts. Must not know what the frame is used for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import polars as pl

from ingest.errors import ConfigError

Kind = Literal["text", "time", "date", "number", "flag"]
_IS_KIND: Mapping[Kind, Callable[[pl.DataType], bool]] = {
    "text": lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
    "time": lambda dtype: isinstance(dtype, pl.Datetime),
    "date": lambda dtype: isinstance(dtype, pl.Date),
    "number": lambda dtype: dtype.is_numeric() or isinstance(dtype, pl.Null),
    "flag": lambda dtype: isinstance(dtype, pl.Boolean | pl.Null),
}
PRICES: Mapping[str, Kind] = {
    "instrument_key": "text",
    "bucket": "time",
    **dict.fromkeys(("open", "high", "low", "close"), "number"),
}  # fmt: skip


def checked(
    frame: Any, columns: Mapping[str, Kind], remedy: str, *, known: Mapping[str, Kind] | None = None
) -> pl.LazyFrame:
    """Return a frame as a lazy one, if it has the required columns.

    Parameters
    ----------
    frame
        The caller's frame.
    columns
        Name -> kind of the required columns.
    remedy
        Remedy for the error text: the frame to pass instead.
    known
        Name -> kind of optional columns; they must have that kind if present.

    Raises
    ------
    ConfigError
        If it is not a Polars frame, or a column is absent or of another kind.
    """
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise ConfigError(f"{type(frame).__name__!r} is not a Polars frame: {remedy}")
    schema = frame.collect_schema()
    if absent := [name for name in columns if name not in schema]:
        raise ConfigError(f"frame has no column {', '.join(map(repr, absent))}: {remedy}")
    for name, kind in {**(known or {}), **columns}.items():
        if name in schema and not _IS_KIND[kind](schema[name]):
            raise ConfigError(f"column {name!r} is {schema[name]}, not a {kind}: {remedy}")
    return frame.lazy()
