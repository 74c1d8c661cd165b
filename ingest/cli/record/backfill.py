"""`tickline backfill`: the vendor's own bars for the minutes that the feed did not bring whole."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import click

from ingest.terminal import progress_line

LEFT_MAX = 40  # that are listed; all are counted, and JSON has them all


@click.command("backfill")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Only this Indian day.  [default: all]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(keys: tuple[str, ...], day: datetime | None, form: str) -> None:
    """Fetch the vendor's own minute bars by REST for what the feed did not bring whole.

    What is to be repaired is in the database (unheard_minutes), so it may be stopped and begun again.
    Each instrument and day is one request; the vendor allows 2,000 in half an hour, and this waits.
    Bars that are there are not overwritten: those that REST has otherwise are counted.

    Exit code 0: all is repaired. Exit code 1: something is left, and the lines say what and why.
    """
    from ingest.database.readiness import ready_database
    from ingest.market.shown_time import ist, jsonable
    from ingest.repair.backfill import Backfill, Repair, Store, Task, day_span
    from ingest.settings import settings
    from ingest.universe.first_universe import known_keys
    from ingest.upstox.rest import UpstoxApi

    config = settings()
    config.token()
    with ready_database(config) as database:
        named = set(known_keys(config, database, keys)) if keys else None
        start, end = (
            day_span(day.date()) if day else (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        )
        tasks = Store(database.url).tasks(start, end)
        tasks = [task for task in tasks if named is None or task.instrument_key in named]
        done = 0

        async def repair(line: Callable[[str], None]) -> Repair:
            def show(task: Task, count: int) -> None:
                nonlocal done
                done += 1
                line(f"repairing {done:,} of {count:,}: {task.instrument_key} on {task.day}")

            async with UpstoxApi(config) as api:
                return await Backfill(api, database.url, show).run(tasks, datetime.now(UTC))

        with progress_line() as line:
            found = asyncio.run(repair(line))
    if form == "json":
        click.echo(json.dumps(found.as_dict(), indent=2, default=jsonable))
    else:
        click.echo(
            f"{found.repaired:,} minutes and {found.gaps:,} gaps repaired with {found.requests:,} requests; "
            f"{found.added:,} bars are new, {found.differing:,} were there with other values and stay"
        )
    for left in found.left[:LEFT_MAX] if form == "table" else ():
        click.echo(
            f"  {left.instrument_key}: {len(left.buckets)} minutes from {ist(left.buckets[0])}: {left.reason}",
            err=True,
        )
    if found.left:
        minutes = sum(len(left.buckets) for left in found.left)
        click.echo(f"tickline: {minutes:,} minutes of {len(found.left):,} instruments could not be repaired", err=True)
        sys.exit(1)
