"""`tickline demo`: run the whole path on this machine, without set-up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.errors import ConfigError

if TYPE_CHECKING:
    from ingest.database.connections import Database
    from ingest.live.supervisor import Run
    from ingest.settings import Settings

SEED = 7
INSTRUMENTS = 40
RATE = 60.0  # ticks per market second
CLOSES = dt.time(9, 45)  # half an hour of market is enough to show, and takes a few seconds
SHOWN = ("NIFTY FUT", "RELIANCE", "NIFTY")
BARS_SHOWN = 5
FOR_S_MAX = 120.0  # far above any normal run: by then something is broken
PAGE_SPEED = 20.0  # market seconds per second: a bar in 3 s, a day in 20 minutes
PAGE_SPIKE = ("NSE_FO|35000", 36, 2.5, 20.0)  # key, minute, percent, times the volume: seen after two minutes
STOP_S = 5.0  # for the processes beside the demo


@click.command("demo")
@click.option("--keep", is_flag=True, help="Use the database of the settings and keep the data.")
@click.option("--page", "has_page", is_flag=True, help="Play a day in 20 minutes on the live page, until Ctrl-C.")
def command(keep: bool, has_page: bool) -> None:
    """Run the whole path: embedded database, simulated market, ingester, bars.

    The simulator serves a made-up NSE session over a real WebSocket; the same code as `tickline start` ingests it;
    the bars are read back. Deletes all data at the end unless --keep is given.

    With --page the market plays twenty times as fast as a real one, `tickline spikes --follow` looks for the spike that
    is in its minute 36, and `tickline page` shows it all until Ctrl-C.
    """
    from ingest.database.readiness import ready_database
    from ingest.settings import settings

    with contextlib.ExitStack() as stack:
        if keep:
            config = settings(collector="demo")
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tickline-", ignore_cleanup_errors=True))
            config = settings(home=Path(folder), database_url=None, engine=None, collector="demo")
        if has_page:
            if find_spec("nicegui") is None:
                raise ConfigError("the page needs NiceGUI, which is not installed: run `pip install 'tickline[page]'`")
            config = config.model_copy(update={"api_port": _free_port()})
        began = time.monotonic()
        database = stack.enter_context(ready_database(config))
        click.echo(f"database ready: engine {database.engine}, {time.monotonic() - began:.1f} s")
        if has_page:
            stack.enter_context(_page_beside(config, database))
        running = asyncio.run(_ingest(config, database, has_page=has_page))
        _report(running, database, time.monotonic() - began)


async def _ingest(config: Settings, database: Database, *, has_page: bool) -> Run:
    """Serve a made-up market and ingest it to its end; with the page, slowly until stopped."""
    from ingest.cli.progress import ProgressLine
    from ingest.live.recorder import TickRecorder
    from ingest.live.stop import stop_signals
    from ingest.market.time import market_day
    from ingest.settings import settings
    from ingest.simulator.exchange.market import GeneratedMarket
    from ingest.simulator.exchange.prices import PlantedSpike
    from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
    from ingest.simulator.server.app import Simulator

    today = market_day(dt.datetime.now(dt.UTC))
    day, plant = latest_weekday(today), [PlantedSpike(*PAGE_SPIKE)] if has_page else []
    session = TradingDay(day) if has_page else TradingDay(day, cash_closes=CLOSES, derivatives_close=CLOSES)
    market = await asyncio.to_thread(
        GeneratedMarket, session, seed=SEED, instruments=INSTRUMENTS, rate=RATE, plant=plant
    )
    async with Simulator(market, speed=PAGE_SPEED if has_page else math.inf) as simulator:
        click.echo(f"simulator serves {market.title} at {simulator.url}")
        config = settings(
            home=config.home,
            collector=config.collector,
            api_port=config.api_port,
            upstox_api_url=simulator.url,
            upstox_assets_url=simulator.url,
            upstox_access_token=simulator.token,
        )
        line = ProgressLine(every_s=60 if has_page else 2)
        with stop_signals(for_s=None if has_page else FOR_S_MAX) as stop:

            def show(running: Run) -> None:
                line(running)
                if not has_page and simulator.finished.is_set() and running.feed.stats.frames >= simulator.frames_sent:
                    stop.set()

            recorder = TickRecorder(sorted(market.keys), settings=config, database=database, show=show)
            running = await recorder.record(lambda: contextlib.nullcontext(stop))
        click.echo(f"simulator sent {simulator.frames_sent:,} frames with {simulator.updates_sent:,} updates")
        return running


@contextlib.contextmanager
def _page_beside(config: Settings, database: Database) -> Iterator[None]:
    """Run the page and the detector of spikes as processes, as a user would; they end with this one in any case."""
    given = {
        "TICKLINE_HOME": str(config.home),
        "TICKLINE_DATABASE_URL": database.url if database.server is None else "",
        "TICKLINE_API_PORT": str(config.api_port),
    }
    processes = [
        subprocess.Popen(  # noqa: S603  the program is ours and there is no shell
            [sys.executable, "-m", "ingest.cli.trial.beside", *arguments],
            env=os.environ | given,
            stdin=subprocess.PIPE,
            stdout=out,
        )
        for arguments, out in ((["page"], None), (["spikes", "--follow"], subprocess.DEVNULL))
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    """Return a free port of 127.0.0.1: another ingester may have the usual one."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _report(running: Run, database: Database, elapsed_s: float) -> None:
    """Print bars of a few instruments, the totals, and what to try next."""
    from analytics import bars
    from analytics.cli.output import write
    from ingest.cli.progress import print_account

    for name in SHOWN:
        found = bars(name, database=database)
        click.echo(f"\n{name}: {found.height} one-minute bars, the last {BARS_SHOWN}")
        write(found.tail(BARS_SHOWN))
    counts = running.consumer.counts
    click.echo(f"\nreceived {running.feed.stats.frames:,} frames, {running.feed.stats.bytes / 1e6:,.1f} MB")
    print_account("committed", counts, running.consumer.state.normaliser.counts)
    click.echo(f"done in {elapsed_s:.1f} s")
    click.echo(
        "\nNext: tickline demo --keep, then\n"
        "  tickline sql 'select * from bars_5m order by bucket desc limit 10'\n"
        "  tickline bars 'NIFTY FUT' --interval 5m\n"
        "or look at it live: tickline demo --page, then http://127.0.0.1:8790/\n"
        "or record the real market: set UPSTOX_ACCESS_TOKEN and run tickline start 'NIFTY FUT' RELIANCE"
    )
