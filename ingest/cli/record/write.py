"""`tickline write`: commit the journals of collectors into the database."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingest.live.distributed.writing import Writing

log = logging.getLogger(__name__)
EVERY_S, FIRST_S = 60.0, 10.0  # between two lines of progress


@click.command("write")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--for", "for_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after this time."
)
def command(sources: tuple[str, ...], for_s: float | None) -> None:
    """Write what collectors record into the database, until Ctrl-C, SIGTERM or --for SECONDS.

    A SOURCE is the address of a `tickline collect` (https://host:8791, or http:// on this machine), or a folder that
    was a collector's TICKLINE_HOME. Set TICKLINE_COLLECTOR_TOKEN to what `journal-token` there holds. A collector that
    runs with --publish is nats:NAME=https://host:8791: it comes through the broker of TICKLINE_NATS_URL, and what is
    missing there from the address; or nats:NAME, if the address cannot be reached.

    Any number of writers may run with the same SOURCES: each collector is written by one of them, and when that dies,
    freezes or loses the database, another goes on within seconds where the ledger ends. One of them also makes bars,
    repairs them by REST, loads the instrument master and does the evening jobs.

    If TICKLINE_UNIVERSE, TICKLINE_UNDERLYINGS or TICKLINE_UNIVERSE_FILE is set here, it also spreads these keys over
    the collectors that have none of their own. Keys of a collector that is lost for TICKLINE_COLLECTOR_LOST_S go to the
    others, and back when it is heard again.

    `tickline status writer` and `tickline status health` ask it, on TICKLINE_API_HOST, port TICKLINE_API_PORT; metrics
    are at /metrics there.
    """
    from ingest.cli.record.start import settle
    from ingest.database.connections import Database
    from ingest.database.readiness import Readiness
    from ingest.env_file import ENV_FILE
    from ingest.live.access import warn_if_shared
    from ingest.live.distributed.writing import assignable, sources_of, write
    from ingest.live.stop import stop_signals
    from ingest.settings import settings

    config = settings()
    warn_if_shared(ENV_FILE)
    collectors = sources_of(sources, config)

    async def run(database: Database) -> Writing:
        with stop_signals(for_s=for_s) as stop:
            return await write(
                config,
                database.url,
                collectors,
                stop=stop,
                make_ready=Readiness(database),
                show=Progress(),
                ready=lambda _: settle(),
                assigned=assignable(sources, config),
            )

    with Database.place(config) as database:
        ticks, frames = asyncio.run(run(database)).written()
    click.echo(f"wrote {ticks:,} ticks of {frames:,} frames")


class Progress:
    """Log how far the writing has come, now and then."""

    def __init__(self) -> None:
        self._due_s = time.monotonic() + FIRST_S

    def __call__(self, running: Writing) -> None:
        """Log a line if it is due."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + EVERY_S
        states = " ".join(f"{one.collector or one.source.name}={one.state}" for one in running.collectors)
        lag = sum(stream.source.left_bytes() for stream in running.streams)
        log.info("writing %s ticks=%d frames=%d lag_bytes=%d", states, *running.written(), lag)
        for text in running.problems():
            log.warning("%s", text)
