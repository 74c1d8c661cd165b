"""`tickline start`: ingest the live feed until stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time

import click

LEAVE_S = 0.3  # threads that are done end within it


@click.command("start")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--mode",
    type=click.Choice(["ltpc", "option_greeks", "full", "full_d30"]),
    help="How much the feed says of each instrument.  [default: TICKLINE_MODE, full]",
)
@click.option("--for", "for_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop by itself.")
def command(keys: tuple[str, ...], mode: str | None, for_s: float | None) -> None:
    """Ingest the live feed of KEYS until Ctrl-C, SIGTERM or --for SECONDS.

    KEY is an instrument key or a name as a trader types it: INFY, "NIFTY FUT",
    "BANKNIFTY 59400 CE 30 DEC 25". Without KEYS the universe of the settings is recorded.
    """
    from ingest.access import warn_if_shared
    from ingest.cli.common import known_universe, ready_database
    from ingest.cli.progress import ProgressLine, print_account
    from ingest.config import settings
    from ingest.supervisor import Progress, start, stop_signals
    from ingest.universe_keeper import UniverseKeeper
    from sql.env_file import ENV_FILE

    config = settings(**({"mode": mode} if mode else {}))
    warn_if_shared(ENV_FILE)
    config.token()
    if keys:
        config = config.model_copy(update={"universe": keys, "underlyings": ()})
    with ready_database(config) as database:
        keeper = UniverseKeeper(config, database.url)
        wanted = known_universe(keeper)

        async def ingest() -> Progress:
            with stop_signals(for_s=for_s) as stop:
                line = ProgressLine(every_s=10)
                return await start(
                    config, database.url, wanted, stop=stop, keeper=keeper, show=line, ready=lambda _: _settle()
                )

        progress = asyncio.run(ingest())
    for line in progress.lines:
        stats = [feed.stats for feed in line.feeds]
        frames, size, made = (sum(getattr(one, name) for one in stats) for name in ("frames", "bytes", "connections"))
        if made or line.consumer.account.records:
            click.echo(f"received {frames:,} frames, {size:,} bytes, {made} connection(s)")
            name = f"collector {config.collector} stream {line.stream}"
            print_account(name, line.consumer.account, line.consumer.normaliser.counts)
    _leave()


def _settle() -> None:
    """Take what was loaded out of the garbage collector's rounds: it stays, and there is much of it."""
    gc.collect()
    gc.freeze()


def _leave() -> None:
    """End the process at once if a thread still waits for a database that says nothing; Python would wait for it."""
    deadline = time.monotonic() + LEAVE_S
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
