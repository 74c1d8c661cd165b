"""What a caller's frame must have before anything is made of it, said in one line where it has not. Pure.

Owns the check and its words. Must not know what is made of a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import polars as pl

from ingest.errors import ConfigError

Kind = Literal["text", "time", "number", "flag"]
_IS_KIND: Mapping[Kind, Callable[[pl.DataType], bool]] = {
    "text": lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum),
    "time": lambda dtype: isinstance(dtype, pl.Datetime),
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
    """Return a frame as a lazy one, if it has the columns that are needed.

    Parameters
    ----------
    frame
        What the caller gave.
    columns
        Name -> kind of what must be there.
    remedy
        What to give instead.
    known
        Name -> kind of what may be absent, and is of that kind where it is there.

    Raises
    ------
    ConfigError
        If it is no frame of Polars, or a column is absent or of another kind.
    """
    if not isinstance(frame, pl.DataFrame | pl.LazyFrame):
        raise ConfigError(f"{type(frame).__name__!r} is no frame of Polars: {remedy}")
    schema = frame.collect_schema()
    if absent := [name for name in columns if name not in schema]:
        raise ConfigError(f"frame has no column {', '.join(map(repr, absent))}: {remedy}")
    for name, kind in {**(known or {}), **columns}.items():
        if name in schema and not _IS_KIND[kind](schema[name]):
            raise ConfigError(f"column {name!r} is {schema[name]}, not a {kind}: {remedy}")
    return frame.lazy()
