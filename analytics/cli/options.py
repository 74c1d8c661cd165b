"""Options shared by the reading commands: time range, output format, output file.

Checks their values before a database is opened. Imports slow modules only when needed, so that help is instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from ingest.errors import ConfigError
from ingest.market.shown_time import ist

F = TypeVar("F", bound=Callable[..., Any])
# Repeated here because the modules that own them import Polars; a test keeps them equal.
FORMATS = ("table", "csv", "json", "parquet")
SOURCES = ("best", "ticks", "official")
TIME_HELP = "Write 2025-12-15 or '2025-12-15 09:15'; IST unless it has an offset."


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
    from analytics.market_time import parse_moment

    try:
        return None if value is None else parse_moment(value)
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def parse_interval(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check an interval, such as 75m or 1w."""
    from analytics.read.intervals import interval_minutes

    try:
        interval_minutes(value)
        return value
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def output_options(function: F) -> F:
    """Add the options for format, file and length of the output."""
    for option in (
        click.option("--all", "all_rows", is_flag=True, help="Show every row of a long table, not only both ends."),
        click.option("--output", type=OutputFile(), help="Write to this file.  [default: stdout]"),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            help="Output format.  [default: by the suffix of --output; otherwise table]",
        ),
    ):
        function = option(function)
    return function


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
