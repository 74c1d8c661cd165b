"""`tickline start`: record the live feed until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingest.live.supervisor import Run
    from ingest.settings import Settings


COLLECT_OBJECTS = 50_000  # between two searches for garbage
SWITCH_S = 0.0005


@click.command("start")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--mode",
    type=click.Choice(["ltpc", "option_greeks", "full", "full_d30"]),
    help="How much data the feed sends per instrument.  [default: TICKLINE_MODE, full]",
)
@click.option(
    "--for", "for_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after this time."
)
def command(keys: tuple[str, ...], mode: str | None, for_s: float | None) -> None:
    """Record the live feed of KEYS until Ctrl-C, SIGTERM or --for SECONDS.

    A KEY is an instrument key or a name as a trader types it: INFY, "NIFTY FUT",
    "BANKNIFTY 59400 CE 29 DEC 26"; without an expiry, the nearest one is meant ("NIFTY 26000 CE"). Without KEYS,
    records the universe of the settings.
    """
    from ingest.cli.progress import ProgressLine, print_unnamed
    from ingest.database.connections import Database
    from ingest.decode.frames import DECODER
    from ingest.env_file import ENV_FILE
    from ingest.live.access import warn_if_shared
    from ingest.live.recorder import TickRecorder
    from ingest.live.stop import stop_signals
    from ingest.settings import settings

    config = settings(**({"mode": mode} if mode else {}))
    warn_if_shared(ENV_FILE)
    config.token()
    remedy = "" if DECODER == "compiled" else ": install again with a C compiler for the fast one"
    click.echo(f"frames are read by the {DECODER} decoder{remedy}")
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
            show=ProgressLine(every_s=60, first_s=10),
            ready=lambda _: settle(),
        )
        running = asyncio.run(recorder.record(stopping))
        report(running, config)
        if running.writer and not (running.writer.is_away or running.writer.given_up):
            print_unnamed(database, [stream.consumer for stream in running.streams])
    if for_s is not None and time.monotonic() - began >= for_s and say_if_never_connected(running):
        sys.exit(1)


def report(running: Run, config: Settings) -> None:
    """Print the totals of each stream: frames received, ticks written, frames left in the journal."""
    from ingest.cli.progress import print_account

    for stream in running.streams:
        stats = [feed.stats for feed in stream.feeds]
        frames, size, made = (sum(getattr(one, name) for one in stats) for name in ("frames", "bytes", "connections"))
        if not made and not stream.consumer.counts.records:
            continue
        click.echo(f"received {frames:,} frames, {size:,} bytes, {made} connection(s)")
        name = f"collector {config.collector} stream {stream.name}"
        if stream.cursor is not None:
            click.echo(f"{name}: {stream.waiting_bytes():,} bytes of the journal wait for a writer")
        elif stream.consumer.knows_ledger:
            print_account(name, stream.consumer.counts, stream.consumer.state.normaliser.counts)
        else:
            click.echo(
                f"{name}: {stream.unwritten_records:,} records are only in the journal, because the database was "
                "away: the next start writes them"
            )


def say_if_never_connected(running: Run) -> bool:
    """Return whether no connection was ever made; if so, print why."""
    feeds = [feed for stream in running.streams for feed in stream.feeds if feed.keys]
    if not feeds or any(feed.stats.connections for feed in feeds):
        return False
    feed = feeds[0]
    click.echo(f"tickline: nothing was recorded: {feed.error.text or feed.life.state.value}", err=True)
    return True


def settle() -> None:
    """Exclude everything loaded so far from garbage collection: it is large and stays until the end.

    The rest makes no cycles worth a search every 700 objects: records come and go by the thousand. Threads change
    places sooner than by default: a thread with its answer waits that long for the busy one, and a commit has several.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)  # what loading needed and has freed: 1 MB
    gc.freeze()
    gc.set_threshold(COLLECT_OBJECTS)
    sys.setswitchinterval(SWITCH_S)
