"""`tickline replay`: ingest recorded frames through the same code as the live feed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from ingest.terminal import progress_bar


def _parse_collector(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return a valid collector name."""
    from ingest.settings import COLLECTOR

    if re.fullmatch(COLLECTOR, value) is None:
        raise click.BadParameter(f"{value!r} is not a name: write 1 to 40 of A-Z, a-z, 0-9, _, . and -", ctx, param)
    return value


@click.command("replay")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--collector",
    metavar="NAME",
    callback=_parse_collector,
    default="recording",
    show_default=True,
    help="Name of recordings in the ledger.",
)
def command(files: tuple[Path, ...], collector: str) -> None:
    """Ingest FILES through the same code as the live feed, then build their bars.

    A file is a recording (.frames.gz) or a journal segment. Nothing that is already stored is written twice, so
    you may repeat a replay at any time. Ctrl-C commits what was read, prints the totals and exits with code 1; the
    same command continues from there.
    """
    from ingest.cli.progress import print_account, print_unnamed, show_on
    from ingest.database.readiness import ready_database
    from ingest.live.stop import stop_signals
    from ingest.pipeline.consumer import Consumer
    from ingest.pipeline.replay import replay
    from ingest.settings import settings

    files = tuple({path.resolve(): path for path in files}.values())  # a file named twice is replayed once
    config, ended = settings(), list[Consumer]()

    with ready_database(config) as database:

        async def push() -> None:
            with stop_signals() as stop, progress_bar() as bar:

                def show(consumer: Consumer, done_bytes: int, total_bytes: int) -> None:
                    show_on(bar, consumer, done_bytes, total_bytes)

                def done(consumer: Consumer) -> None:
                    bar("")
                    ended.append(consumer)
                    print_account(consumer.stream, consumer.counts, consumer.state.normaliser.counts)

                await replay(config, database.url, files, collector=collector, show=show, done=done, stop=stop)

        asyncio.run(push())
        print_unnamed(database, ended)
