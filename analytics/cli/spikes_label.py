"""`tickline spikes label`: mark signals right or wrong, and spikes that no signal told.

Owns the arguments and the output. Imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from analytics.cli.options import PLAIN, TIME_HELP, Shown, check_range, output_options, range_options
from ingest.market.shown_time import ist
from ingest.market.typed_times import parse_moment

if TYPE_CHECKING:
    from analytics.review.labels import Labelled

VERDICTS = ("right", "wrong", "missed")  # a test keeps them equal to those of `analytics.review.labels`


def _parse_minute(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return a time as aware UTC."""
    try:
        return None if value is None else parse_moment(value, datetime.now(UTC))
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc


@click.command("label", epilog=TIME_HELP)
@click.argument("key", required=False)
@click.argument("at", metavar="[TIME]", required=False, callback=_parse_minute)
@click.argument("verdict", metavar="[right|wrong|missed]", required=False, type=click.Choice(VERDICTS))
@click.option("--note", help="Why, in your words; at most 500 characters.")
@click.option("--remove", "is_remove", is_flag=True, help="Remove the label of KEY at TIME.")
@click.option("--list", "is_list", is_flag=True, help="Show the labels, of KEY or of all instruments.")
@range_options
@output_options
def label_command(
    *,
    key: str | None,
    at: datetime | None,
    verdict: str | None,
    note: str | None,
    is_remove: bool,
    is_list: bool,
    start: datetime | None,
    end: datetime | None,
    shown: Shown,
) -> None:
    """Say whether a signal was right or wrong.

    `tickline spikes label INFY "2026-11-27 10:42" right` labels the signal of that minute; `missed` labels the minute
    in which a spike begins that no signal told. A label is kept when rules change; `spikes evaluate --labels` and
    `spikes report` use it. A second one of the same minute replaces the first.
    """
    if is_list:
        if at or verdict or note or is_remove:
            raise click.UsageError("--list shows labels: give no TIME, verdict, --note or --remove")
        check_range(start, end)
        _list(key, start, end, shown)
        return
    if start or end or shown != PLAIN:
        raise click.UsageError("--from, --to and the options of output need --list")
    if key is None or at is None or (verdict is None) != is_remove:
        raise click.UsageError("give KEY, TIME and right, wrong or missed; or KEY, TIME and --remove; or --list")
    if note is not None and (is_remove or len(note) > 500 or not note.strip()):
        raise click.BadParameter("give 1 to 500 characters with a verdict", param_hint="'--note'")
    found = _label(key, at, verdict, note)
    click.echo(f"{found.name} {ist(found.bucket)}: {_said(found, verdict)}")
    for teller in found.near:
        click.echo(f"note: a signal is near, at {ist(teller)}: if it told this spike, label it right instead", err=True)


def _said(found: Labelled, verdict: str | None) -> str:
    """Return what was done, in words."""
    if verdict is None:
        return f"label removed (was {found.former})"
    return verdict if found.former in (None, verdict) else f"{verdict} (was {found.former})"


def _label(key: str, at: datetime, verdict: str | None, note: str | None) -> Labelled:
    """Write or remove a label."""
    from analytics.review.labels import remove_label, set_label
    from ingest.database.connections import Database, check_schema
    from ingest.database.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database, closing(database.connect(autocommit=True)) as connection:
        check_schema(connection)
        if verdict is None:
            return remove_label(connection, key, at)
        return set_label(connection, key, at, verdict, note)  # type: ignore[arg-type]


def _list(key: str | None, start: datetime | None, end: datetime | None, shown: Shown) -> None:
    """Print labels."""
    import polars as pl

    from analytics.cli.output import write
    from analytics.review.labels import labels

    found = labels(key, start=start, end=end)
    name = pl.coalesce("trading_symbol", "instrument_key").alias("instrument")
    write(found.select("bucket", name, "verdict", "note", "labelled_at", "labelled_by", "instrument_key"), shown)
