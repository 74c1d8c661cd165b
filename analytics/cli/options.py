"""Options shared by the reading commands: a range of time, and how and where a frame is written.

Owns how their values are checked, before a database is opened. Slow imports are done when needed, so that
help is instant.
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
# Written out, because the modules that own them import Polars; a test keeps them equal.
FORMATS = ("table", "csv", "json", "parquet")
SOURCES = ("best", "ticks", "official")
TIME_HELP = "As 2025-12-15 or '2025-12-15 09:15', in IST unless it has an offset."


class OutputFile(click.Path):
    """A file that can be written, checked before its content is made."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"{str(path)!r} cannot be written, as there is no folder {str(path.parent)!r}", param, ctx)
        if not os.access(path.parent, os.W_OK):
            self.fail(f"{str(path)!r} cannot be written, as folder {str(path.parent)!r} is read only", param, ctx)
        return path


def _parse_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return a day or a time as aware UTC; without an offset it is market-local."""
    from analytics.market_time import parse_moment

    try:
        return None if value is None else parse_moment(value)
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def parse_interval(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Return an interval in minutes."""
    from analytics.read.intervals import interval_minutes

    try:
        return interval_minutes(value)
    except ConfigError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


def output_options(function: F) -> F:
    """Add the options that say how and where a frame is written."""
    for option in (
        click.option("--all", "all_rows", is_flag=True, help="Show all rows of a table, not only both ends."),
        click.option("--output", type=OutputFile(), help="File; without it stdout."),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            help="[default: as --output ends, .csv, .json or .parquet, else table]",
        ),
    ):
        function = option(function)
    return function


def range_options(function: F) -> F:
    """Add the options of a range of time."""
    for option in (
        click.option(
            "--to",
            "end",
            callback=_parse_moment,
            metavar="TIME",
            help="First time that is not read. A day means its midnight.",
        ),
        click.option(
            "--from", "start", callback=_parse_moment, metavar="TIME", help=f"First time that is read. {TIME_HELP}"
        ),
    ):
        function = option(function)
    return function


def check_range(start: datetime | None, end: datetime | None) -> None:
    """Refuse a range that ends before it begins, with the options' names and market times."""
    if start is not None and end is not None and start >= end:
        first, last = (f"'{ist(at)}'" for at in (start, end))
        raise click.UsageError(
            f"--to {last} is not after --from {first}: the range does not include its end, so a day ends with the next"
        )
