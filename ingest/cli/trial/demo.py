"""`tickline demo`: run the whole path on this machine, without set-up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

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


@click.command("demo")
@click.option("--keep", is_flag=True, help="Use the database of the settings and keep the data.")
def command(keep: bool) -> None:
    """Run the whole path: embedded database, simulated market, ingester, bars.

    The simulator serves a made-up NSE session over a real WebSocket; the same code as `tickline start` ingests it;
    the bars are read back. Deletes all data at the end unless --keep is given.
    """
    from ingest.database.readiness import ready_database
    from ingest.settings import settings

    with contextlib.ExitStack() as stack:
        if keep:
            config = settings(collector="demo")
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tickline-", ignore_cleanup_errors=True))
            config = settings(home=Path(folder), database_url=None, engine=None, collector="demo")
        began = time.monotonic()
        database = stack.enter_context(ready_database(config))
        click.echo(f"database ready: engine {database.engine}, {time.monotonic() - began:.1f} s")
        running = asyncio.run(_ingest(config, database))
        _report(running, database, time.monotonic() - began)


async def _ingest(config: Settings, database: Database) -> Run:
    """Serve a made-up market and ingest it to its end."""
    from ingest.cli.progress import ProgressLine
    from ingest.live.recorder import TickRecorder
    from ingest.live.stop import stop_signals
    from ingest.market.time import market_day
    from ingest.settings import settings
    from ingest.simulator.exchange.market import GeneratedMarket
    from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
    from ingest.simulator.server.app import Simulator

    today = market_day(dt.datetime.now(dt.UTC))
    session = TradingDay(latest_weekday(today), cash_closes=CLOSES, derivatives_close=CLOSES)
    market = await asyncio.to_thread(GeneratedMarket, session, seed=SEED, instruments=INSTRUMENTS, rate=RATE)
    async with Simulator(market, speed=math.inf) as simulator:
        click.echo(f"simulator serves {market.title} at {simulator.url}")
        config = settings(
            home=config.home,
            collector=config.collector,
            upstox_api_url=simulator.url,
            upstox_assets_url=simulator.url,
            upstox_access_token=simulator.token,
        )
        line = ProgressLine(every_s=2)
        with stop_signals(for_s=FOR_S_MAX) as stop:

            def show(running: Run) -> None:
                line(running)
                if simulator.finished.is_set() and running.feed.stats.frames >= simulator.frames_sent:
                    stop.set()

            recorder = TickRecorder(sorted(market.keys), settings=config, database=database, show=show)
            running = await recorder.record(lambda: contextlib.nullcontext(stop))
        click.echo(f"simulator sent {simulator.frames_sent:,} frames with {simulator.updates_sent:,} updates")
        return running


def _report(running: Run, database: Database, elapsed_s: float) -> None:
    """Print bars of a few instruments, the totals, and what to try next."""
    from analytics import bars
    from analytics.cli.output import write
    from ingest.cli.progress import print_account

    for name in SHOWN:
        found = bars(name, database=database)
        click.echo(f"\n{name}: {found.height} one-minute bars, the last {BARS_SHOWN}")
        write(found.tail(BARS_SHOWN), "table", None)
    counts = running.consumer.counts
    click.echo(f"\nreceived {running.feed.stats.frames:,} frames, {running.feed.stats.bytes / 1e6:,.1f} MB")
    print_account("committed", counts, running.consumer.state.normaliser.counts)
    click.echo(f"done in {elapsed_s:.1f} s")
    click.echo(
        "\nNext: tickline demo --keep, then\n"
        "  tickline sql 'select * from bars_5m order by bucket desc limit 10'\n"
        "  tickline bars 'NIFTY FUT' --interval 5m\n"
        "or record the real market: set UPSTOX_ACCESS_TOKEN and run tickline start 'NIFTY FUT' RELIANCE"
    )
