"""Write frames as table, CSV, JSON or Parquet to stdout or a file.

Owns the output formats and the choice by file suffix. Tables are for people: times in IST, said in the header. The
others are for programs: CSV and JSON with UTC times in ISO 8601, Parquet with the frame's own types. Must not know
what the frame contains.
"""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from analytics.cli.options import PLAIN, Shown
from analytics.market_time import MARKET_ZONE
from ingest.errors import ConfigError
from ingest.files import replace_file
from ingest.redaction import unfenced_stdout
from ingest.terminal import aligned, print_table

Format = Literal["table", "csv", "json", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
KEY, NAME = "instrument_key", "instrument"
TABLE_ROWS_MAX = 40  # about a screen: the first 20 and the last 20
DECIMALS_MIN = 2  # of rupees
DECIMALS_MAX = 6  # greeks need this many
CELL_CHARS_MAX = 60
PLAIN_MAX = 1e15  # larger floats are shown as Python writes them: fixed decimals would not be exact
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


def write(frame: pl.DataFrame, shown: Shown = PLAIN, *, names: Mapping[str, str] | None = None) -> None:
    """Write a frame to a file, or to stdout.

    Parameters
    ----------
    frame
        Any frame; times with a zone are shown in IST in a table, otherwise in UTC.
    shown
        Which rows and columns, where and how. Format table: a long frame is cut in the middle, with a note on stderr;
        csv: with a header; json: one array of objects; parquet: refused on a terminal. None: by the suffix of the file
        (.csv, .json, .parquet), otherwise a table. A file is replaced atomically.
    names
        Of instrument_keys, as the user typed them. A table shows them in the column `instrument`, instead of the keys;
        other formats have it if `--columns` asks for it.

    Raises
    ------
    ConfigError
        If the file cannot be written, Parquet would go to a terminal, or a column does not exist.
    """
    output, all_rows = shown.output, shown.all_rows or shown.limit is not None
    form = shown.form or _SUFFIXES.get(output.suffix.lower() if output else "", "table")
    frame = _chosen(frame, shown, names or {}, is_table=form == "table")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("format 'parquet' is not for a terminal: add --output FILE")
    if frame.is_empty():
        print("no rows", file=sys.stderr)
    if form == "table":
        is_person = output is None and sys.stdout.isatty()
        columns = _columns(
            frame, None if all_rows or output else TABLE_ROWS_MAX, cell_chars_max=CELL_CHARS_MAX if is_person else None
        )
        numeric = [dtype.is_numeric() for dtype in frame.dtypes]
        if is_person:
            print_table(columns, numeric, unfenced_stdout())
            return
        content = aligned(columns, numeric).encode()
    elif form == "parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        content = buffer.getvalue()
    else:
        texts = frame.with_columns(_iso_times(frame))
        content = texts.write_csv().encode() if form == "csv" else texts.write_json().encode() + b"\n"
    if output is None:
        stdout = unfenced_stdout()
        stdout.flush()
        stdout.buffer.write(content)
        stdout.buffer.flush()
    else:
        _replace(output, content)


def _chosen(frame: pl.DataFrame, shown: Shown, names: Mapping[str, str], *, is_table: bool) -> pl.DataFrame:
    """Return the rows and columns to show, with names as the user typed them."""
    if shown.limit is not None:
        frame = frame.head(shown.limit) if shown.limit > 0 else frame.tail(-shown.limit)
    usual = list(frame.columns)
    if names and KEY in usual:
        frame = frame.with_columns(pl.col(KEY).replace(names).alias(NAME))
        usual = [NAME if is_table and column == KEY else column for column in usual]
    for name in shown.columns:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, n=2)
            write_it = f"write {' or '.join(near)}" if near else f"write some of {', '.join(frame.columns)}"
            raise ConfigError(f"--columns: column {name!r} does not exist: {write_it}")
    wanted = list(dict.fromkeys(shown.columns or usual))
    return frame if wanted == frame.columns else frame.select(wanted)


def _replace(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as exc:
        raise ConfigError(f"file {str(path)!r} cannot be written: {exc.strerror}: name another with --output") from exc


def _iso_times(frame: pl.DataFrame) -> list[pl.Expr]:
    """Return time columns as ISO 8601 text such as 2025-12-15T04:02:00Z; those with a zone in UTC."""
    columns = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Datetime):
            column = pl.col(name) if dtype.time_zone is None else pl.col(name).dt.convert_time_zone("UTC")
            columns.append(column.dt.strftime("%Y-%m-%dT%H:%M:%S%.f" + ("" if dtype.time_zone is None else "Z")))
    return columns


def _columns(frame: pl.DataFrame, rows_max: int | None, *, cell_chars_max: int | None) -> list[list[str]]:
    """Return each column's header and cells; cut the middle out if there are more than `rows_max` rows."""
    hidden = 0 if rows_max is None else max(0, frame.height - rows_max)
    shown = frame
    if hidden and rows_max is not None:
        shown = pl.concat([frame.head(rows_max // 2), frame.tail(rows_max - rows_max // 2)])
        print(f"{hidden} of {frame.height} rows not shown: add --all, or --output FILE", file=sys.stderr)
    columns = [_cells(shown[name], cell_chars_max) for name in shown.columns]
    if hidden and rows_max is not None:
        for cells in columns:
            cells.insert(1 + rows_max // 2, "...")
    return columns


def _cells(column: pl.Series, chars_max: int | None) -> list[str]:
    """Return a column's header and values as text; null is a hyphen."""
    dtype = column.dtype
    header = column.name
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            header = f"{header} (IST)"
            column = column.dt.convert_time_zone(MARKET_ZONE.key)
        whole = bool((column.dt.microsecond() == 0).all())
        texts = column.dt.strftime("%Y-%m-%d %H:%M:%S" if whole else "%Y-%m-%d %H:%M:%S%.3f").to_list()
    elif dtype.is_float():
        decimals = _decimals(column)
        texts = [
            None if value is None else f"{value:.{decimals}f}" if abs(value) < PLAIN_MAX else str(value)
            for value in column
        ]
    else:
        texts = [None if value is None else _short(str(value), chars_max) for value in column]
    return [header, *("-" if text is None else text for text in texts)]


def _decimals(column: pl.Series) -> int:
    """Return how many decimals a column's values need, within the limits."""
    for decimals in range(DECIMALS_MIN, DECIMALS_MAX):
        if ((column.round(decimals) - column).abs() < 10.0 ** -(DECIMALS_MAX + 1)).all():
            return decimals
    return DECIMALS_MAX


def _short(text: str, chars_max: int | None) -> str:
    """Return a value as one line of at most `chars_max` characters; None: of any length."""
    line = " ".join(text.split("\n"))
    return line if chars_max is None or len(line) <= chars_max else f"{line[: chars_max - 3]}..."
