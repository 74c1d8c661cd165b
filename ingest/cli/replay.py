"""`tickline replay`: recorded frames through the path of live ingestion."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.command("replay")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--collector", metavar="NAME", default="recording", show_default=True, help="Ledger name of recordings.")
def command(files: tuple[Path, ...], collector: str) -> None:
    """Push recorded FILES through decode, normalise and write, then refresh their bars.

    A file is a recording (.frames.gz) or a segment of the journal. What the ledger already has is
    not written again, so a replay may be repeated, or continued, at any time.
    """
    from ingest.cli.common import ready_database
    from ingest.cli.progress import ProgressLine, print_account
    from ingest.config import settings
    from ingest.replay import replay

    config = settings()
    with ready_database(config) as database:
        asyncio.run(
            replay(
                config,
                database.url,
                files,
                collector=collector,
                show=ProgressLine(every_s=5),
                done=lambda consumer: print_account(consumer.stream, consumer.account, consumer.normaliser.counts),
            )
        )
