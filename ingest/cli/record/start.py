"""`tickline start`: ingest the live feed until stopped."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingest.live.supervisor import Run
    from ingest.settings import Settings

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
    "BANKNIFTY 59400 CE 29 DEC 26". Without KEYS the universe of the settings is recorded.
    """
    from ingest.cli.progress import ProgressLine, print_unnamed
    from ingest.database.connections import Database
    from ingest.env_file import ENV_FILE
    from ingest.live.access import warn_if_shared
    from ingest.live.recorder import TickRecorder
    from ingest.live.stop import stop_signals
    from ingest.settings import settings

    config = settings(**({"mode": mode} if mode else {}))
    warn_if_shared(ENV_FILE)
    config.token()
    began = time.monotonic()

    def stopping() -> AbstractContextManager[asyncio.Event]:
        nonlocal began
        began = time.monotonic()
        return stop_signals(for_s=for_s)

    with Database.place(config) as database:
        recorder = TickRecorder(
            keys or None,
            settings=config,
            database=database,
            show=ProgressLine(every_s=10),
            ready=lambda _: _settle(),
        )
        running = asyncio.run(recorder.record(stopping))
        _report(running, config)
        if running.writer and not (running.writer.is_away or running.writer.given_up):
            print_unnamed(database, [stream.consumer for stream in running.streams])
    _leave(1 if for_s is not None and time.monotonic() - began >= for_s and _say_if_never_connected(running) else 0)


def _report(running: Run, config: Settings) -> None:
    """Print what was received, and what has become of it."""
    from ingest.cli.progress import print_account

    for stream in running.streams:
        stats = [feed.stats for feed in stream.feeds]
        frames, size, made = (sum(getattr(one, name) for one in stats) for name in ("frames", "bytes", "connections"))
        if not made and not stream.consumer.counts.records:
            continue
        click.echo(f"received {frames:,} frames, {size:,} bytes, {made} connection(s)")
        name = f"collector {config.collector} stream {stream.name}"
        if stream.consumer.knows_ledger:
            print_account(name, stream.consumer.counts, stream.consumer.state.normaliser.counts)
        else:
            click.echo(
                f"{name}: {stream.unwritten_records:,} records are in the journal and not in the database, which was "
                "away: the next start writes them"
            )


def _say_if_never_connected(running: Run) -> bool:
    """Say so if the feed could not be connected the whole time; tell whether that is so."""
    feeds = [feed for stream in running.streams for feed in stream.feeds if feed.keys]
    if not feeds or any(feed.stats.connections for feed in feeds):
        return False
    feed = feeds[0]
    click.echo(f"tickline: nothing was recorded: {feed.error.text or feed.life.state.value}", err=True)
    return True


def _settle() -> None:
    """Take what was loaded out of the garbage collector's rounds: it stays, and there is much of it."""
    gc.collect()
    gc.freeze()


def _leave(code: int) -> None:
    """End the process; at once if a thread still waits for a database that says nothing; Python would wait for it."""
    deadline = time.monotonic() + LEAVE_S
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    if code:
        sys.exit(code)
