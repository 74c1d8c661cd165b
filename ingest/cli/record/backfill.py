"""`tickline backfill`: fetch the vendor's bars for minutes that the feed missed in whole or in part."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from functools import partial

import click

from analytics.cli.options import DAY_HELP, Day
from ingest.terminal import Progress, progress_bar

LEFT_MAX = 40  # lines listed; all are counted, and JSON lists all


@click.command("backfill")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--day", type=Day(), metavar="DAY", help=f"Only this Indian day: {DAY_HELP}.  [default: all]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(keys: tuple[str, ...], day: date | None, form: str) -> None:
    """Fetch the vendor's minute bars by REST for minutes that the feed missed in whole or in part.

    The database lists these minutes (unheard_minutes), so you may stop the command and run it again. It sends one
    request per instrument and day and waits when the vendor's limit of 2,000 in half an hour is reached. It
    overwrites no bar; it counts the stored bars that differ from the vendor's.

    Exit code 0: everything is repaired. Exit code 1: minutes are left, and the output says which and why.
    """
    from ingest.database.pool import Pool, run_with_pool
    from ingest.database.readiness import ready_database
    from ingest.market.shown_time import ist, jsonable
    from ingest.market.time import day_span
    from ingest.repair.backfill import Backfill, Repair
    from ingest.repair.backfill_store import ALWAYS, Store, Task
    from ingest.settings import settings
    from ingest.universe.first_universe import known_keys
    from ingest.upstox.rest import UpstoxApi

    config = settings()
    config.token()
    with ready_database(config) as database:
        named = known_keys(config, database, keys) if keys else {}
        start, end = day_span(day) if day else ALWAYS
        done = 0

        def shown(key: str) -> str:
            return named.get(key, key)

        async def repair(bar: Progress, pool: Pool) -> Repair:
            def show(task: Task, count: int) -> None:
                nonlocal done
                done += 1
                bar(f"repairing {done:,} of {count:,}: {shown(task.instrument_key)} on {task.day}", done - 1, count)

            store = Store(pool)
            tasks = [task for task in await store.tasks(start, end) if not keys or task.instrument_key in named]
            async with UpstoxApi(config) as api:
                return await Backfill(api, store, show).run(tasks, datetime.now(UTC))

        with progress_bar() as bar:
            found = run_with_pool(database.url, partial(repair, bar))
    if form == "json":
        click.echo(json.dumps(found.as_dict(), indent=2, default=jsonable))
    else:
        click.echo(
            f"{found.repaired:,} minutes and {found.gaps:,} gaps repaired with {found.requests:,} requests; "
            f"{found.added:,} bars added, {found.differing:,} stored bars differ from the vendor's and stay"
        )
    for left in found.left[:LEFT_MAX] if form == "table" else ():
        click.echo(
            f"  {shown(left.instrument_key)}: {len(left.buckets)} minutes from {ist(left.buckets[0])}: {left.reason}",
            err=True,
        )
    if found.left:
        minutes = sum(len(left.buckets) for left in found.left)
        click.echo(f"tickline: {minutes:,} minutes of {len(found.left):,} instruments could not be repaired", err=True)
        sys.exit(1)
