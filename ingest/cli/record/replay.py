"""`tickline replay`: recorded frames through the path of live ingestion."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import click

from ingest.terminal import progress_line


def _parse_collector(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return a name that the ledger takes."""
    from ingest.settings import COLLECTOR

    if re.fullmatch(COLLECTOR, value) is None:
        raise click.BadParameter(f"{value!r} is no name: write 1 to 40 of A-Z, a-z, 0-9, _, . and -", ctx, param)
    return value


@click.command("replay")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--collector",
    metavar="NAME",
    callback=_parse_collector,
    default="recording",
    show_default=True,
    help="Ledger name of recordings.",
)
def command(files: tuple[Path, ...], collector: str) -> None:
    """Push recorded FILES through decode, normalise and write, then refresh their bars.

    A file is a recording (.frames.gz) or a segment of the journal. What the ledger already has is
    not written again, so a replay may be repeated, or continued, at any time. Ctrl-C ends it: what was
    read is committed, and what that is is said (exit code 1); the same command goes on there.
    """
    from ingest.cli.progress import print_account, print_unnamed, show_on
    from ingest.database.readiness import ready_database
    from ingest.live.stop import stop_signals
    from ingest.pipeline.consumer import Consumer
    from ingest.pipeline.replay import replay
    from ingest.settings import settings

    files = tuple({path.resolve(): path for path in files}.values())  # one that is named twice is one
    config, ended = settings(), list[Consumer]()

    with ready_database(config) as database:

        async def push() -> None:
            with stop_signals() as stop, progress_line() as line:

                def show(consumer: Consumer) -> None:
                    show_on(line, consumer)

                def done(consumer: Consumer) -> None:
                    line("")
                    ended.append(consumer)
                    print_account(consumer.stream, consumer.counts, consumer.state.normaliser.counts)

                await replay(config, database.url, files, collector=collector, show=show, done=done, stop=stop)

        asyncio.run(push())
        print_unnamed(database, ended)
