"""Options that commands share: days, time range, output format and file, rows and columns.

Checks their values before a database is opened. Imports slow modules only when needed, so that help is instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from ingest.errors import ConfigError
from ingest.market.shown_time import INDIA, ist
from ingest.market.typed_times import parse_day, parse_moment

F = TypeVar("F", bound=Callable[..., Any])
# Repeated here because the modules that own them import Polars; a test keeps them equal.
FORMATS = ("table", "csv", "json", "parquet")
SOURCES = ("best", "ticks", "official")
DAY_HELP = "2025-12-15, today, yesterday or -2d"
TIME_HELP = "Write 2025-12-15, '2025-12-15 09:15' (IST unless it has an offset), today, 'yesterday 09:15', -2d or -3h."


@dataclass(frozen=True, slots=True)
class Shown:
    """How rows are written: format, file, and which rows and columns."""

    form: str | None
    output: Path | None
    all_rows: bool
    limit: int | None  # the first rows; negative: the last
    columns: tuple[str, ...]  # (): all


PLAIN = Shown(None, None, all_rows=False, limit=None, columns=())


class Day(click.ParamType[date]):
    """A day: 2025-12-15, today, yesterday or -2d.

    Parameters
    ----------
    is_utc
        Whether `today` is that of UTC, not of India.
    """

    name = "day"

    def __init__(self, *, is_utc: bool = False) -> None:
        self._zone = UTC if is_utc else INDIA

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day; fail if the text is none."""
        if isinstance(value, date):
            return value
        try:
            return parse_day(value, datetime.now(self._zone).date())
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class OutputFile(click.Path):
    """A writable output file, checked before the work starts."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; fail if its folder is missing or read-only."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{str(path)!r} cannot be written: folder {str(path.parent)!r} does not exist", param, ctx)
        if not os.access(path.parent, os.W_OK):
            self.fail(f"{str(path)!r} cannot be written: folder {str(path.parent)!r} is read-only", param, ctx)
        return path


def _parse_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return a day or time as aware UTC; without an offset it is read as IST."""
    try:
        return None if value is None else parse_moment(value, datetime.now(UTC))
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def parse_interval(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check an interval, such as 75m or 1w."""
    from analytics.read.intervals import interval_minutes

    try:
        interval_minutes(value)
        return value
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def _parse_columns(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the names of columns; whether they exist is known when the rows are."""
    names = tuple(part.strip() for part in value.split(",")) if value else ()
    if "" in names:
        raise click.BadParameter(f"{value!r} has an empty name: write names between commas: bucket,close", ctx, param)
    return names


def _parse_limit(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """Return a number of rows."""
    if value == 0:
        raise click.BadParameter("0 is no number of rows: write 10 for the first ten, -10 for the last", ctx, param)
    return value


def output_options(function: F) -> F:
    """Add the options for format, file, rows and columns of the output; the command gets them as `shown`."""

    @wraps(function)
    def with_shown(
        *args: Any,
        form: str | None,
        output: Path | None,
        all_rows: bool,
        limit: int | None,
        columns: tuple[str, ...],
        **others: Any,
    ) -> Any:
        return function(*args, shown=Shown(form, output, all_rows, limit, columns), **others)

    wrapped: Any = with_shown
    for option in (
        click.option("--all", "all_rows", is_flag=True, help="Show every row of a long table, not only both ends."),
        click.option(
            "--columns",
            metavar="NAME,...",
            callback=_parse_columns,
            help="Only these columns, in this order.  [default: all]",
        ),
        click.option(
            "--limit",
            type=int,
            metavar="ROWS",
            callback=_parse_limit,
            help="Only the first rows; -10: the last ten.  [default: all]",
        ),
        click.option("--output", type=OutputFile(), help="Write to this file.  [default: stdout]"),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            help="Output format.  [default: by the suffix of --output; otherwise table]",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def range_options(function: F) -> F:
    """Add the options for a time range."""
    for option in (
        click.option(
            "--to",
            "end",
            callback=_parse_moment,
            metavar="TIME",
            help="End of the range, exclusive. A day means its midnight.",
        ),
        click.option(
            "--from", "start", callback=_parse_moment, metavar="TIME", help=f"Start of the range. {TIME_HELP}"
        ),
    ):
        function = option(function)
    return function


def check_range(start: datetime | None, end: datetime | None) -> None:
    """Refuse a range that ends before it starts; name the options and show times in IST."""
    if start is not None and end is not None and start >= end:
        first, last = (f"'{ist(at)}'" for at in (start, end))
        raise click.UsageError(
            f"--to {last} is not after --from {first}: --to is exclusive, so give the day after the last one"
        )
