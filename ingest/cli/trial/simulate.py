"""`tickline simulate`: serve a simulated Upstox V3 feed on this machine.

Owns the options and the output. `ingest.simulator` owns the market and the server.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analytics.cli.options import DAY_HELP, Day, OutputFile
from ingest.cli.trial.fault_options import FaultyCommand, bad_day, fault_options
from ingest.market.shown_time import ist
from ingest.market.time import market_day, utc_of_ms
from ingest.redaction import unfenced_stdout

if TYPE_CHECKING:
    from ingest.simulator.exchange.prices import PlantedSpike
    from ingest.simulator.server.app import Simulator
    from ingest.simulator.server.faults import BadDay
    from ingest.simulator.source import Source

SPIKE = re.compile(r"(?P<key>.+)@(?P<minute>\d{1,3}):(?P<parts>.+)")
NUMBER = r"\d+(?:\.\d+)?"
SPIKE_PART = re.compile(
    rf"(?P<percent>[+-]?{NUMBER})?(?:x(?P<volume>{NUMBER}))?|iv(?P<points>[+-]?{NUMBER})|oi(?P<interest>[+-]?{NUMBER})"
)
SPIKE_VOLUME = 20.0  # times the usual, with a move of the price
SPIKE_FORM = "write it as 'NSE_FO|35000@36:2.5x20', or after the colon x20, iv+3, oi-10 or several with commas"
PROGRESS_EVERY_S = 10.0
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _parse_speed(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Return a speed; `max` means infinite."""
    if value == "max":
        return math.inf
    try:
        speed = float(value)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise click.BadParameter(f"{value!r} is not a speed: give a positive number, or max", ctx, param)
    return speed


def _parse_host(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return a valid host name or address."""
    try:
        value.encode("idna")
    except UnicodeError:
        raise click.BadParameter(f"{value!r} is not a host: write an address such as 127.0.0.1", ctx, param) from None
    return value


def _parse_spikes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[PlantedSpike]:
    """Return spikes to plant, parsed from texts such as 'NSE_FO|35000@36:2.5x20'."""
    from ingest.simulator.exchange.prices import PlantedSpike

    spikes = []
    for value in values:
        found = SPIKE.fullmatch(value)
        parts = [SPIKE_PART.fullmatch(part) for part in found["parts"].split(",")] if found else []
        given = {name: float(text) for part in parts if part for name, text in part.groupdict().items() if text}
        if found is None or not all(part and part[0] for part in parts):
            raise click.BadParameter(f"{value!r} is not a spike: {SPIKE_FORM}", ctx, param)
        volume = given.get("volume", SPIKE_VOLUME if "percent" in given else 1.0)
        sizes = given.get("percent", 0.0), volume, given.get("points", 0.0), given.get("interest", 0.0)
        spikes.append(PlantedSpike(found["key"], int(found["minute"]), *sizes))
    return spikes


@click.command("simulate", cls=FaultyCommand)
@click.option("--frames", type=FILE, help="Play this recording (.frames.gz) or journal segment.")
@click.option("--generate", is_flag=True, help="Play a made-up NSE session.")
@click.option(
    "--speed",
    metavar="NUMBER|max",
    callback=_parse_speed,
    default="1",
    show_default=True,
    help="Market seconds per second, or max: as fast as the clients read.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8787,
    show_default=True,
    help="Port to listen on; 0: any free port.",
)
@click.option("--host", callback=_parse_host, default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--token", default="simulated-token", show_default=True, help="Access token to accept.")
@click.option(
    "--instruments-file",
    type=FILE,
    help="Instrument master to serve with a recording (the vendor's NSE.json.gz).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="The same seed and date give the same made-up session and the same faults.",
)
@click.option(
    "--instruments",
    type=click.IntRange(1, 5000),
    default=50,
    show_default=True,
    help="Made-up session: number of instruments.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=500,
    show_default=True,
    help="Made-up session: ticks per market second, all instruments together.",
)
@click.option(
    "--spike",
    "spikes",
    metavar="KEY@MINUTE:PERCENT[xVOLUME]",
    multiple=True,
    callback=_parse_spikes,
    help="Made-up session: in this minute after the open, move KEY's price by PERCENT, where it stays, at VOLUME times "
    "its usual volume (default 20). x20: only volume; iv+3: implied volatility of an option by points; oi-10: open "
    "interest by percent; several with commas. May be repeated.",
)
@click.option(
    "--plant",
    "count",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Made-up session: also so many spikes of random kind, size, instrument and minute, chosen by --seed.",
)
@click.option("--truth", type=OutputFile(), help="Write the planted spikes to this file, as JSON.")
@click.option(
    "--date",
    "on",
    type=Day(),
    metavar="DAY",
    help=f"Date of the made-up session: {DAY_HELP}.  [default: the latest weekday]",
)
@fault_options
def command(
    *,
    frames: Path | None,
    generate: bool,
    speed: float,
    port: int,
    host: str,
    token: str,
    instruments_file: Path | None,
    seed: int,
    instruments: int,
    rate: float,
    spikes: list[PlantedSpike],
    count: int,
    truth: Path | None,
    on: date | None,
    **faults: Any,
) -> None:
    """Serve a recorded or made-up market as Upstox V3 does, with REST and WebSocket on one port.

    Prints the settings that point the ingester at it. The market starts when the first client subscribes. After
    its end it starts again once all clients have left.

    \b
    Examples:
      tickline simulate --frames session.frames.gz --speed max
      tickline simulate --generate --instruments 200 --rate 1000
      tickline simulate --generate --spike "NSE_FO|35000@36:2.5x20"
      tickline simulate --generate --plant 20 --truth truth.json
      tickline simulate --generate --drop-every 30 --refuse 429@60+20 --mute "NSE_FO|35000@90+30"
    """
    if generate and frames is not None:
        raise click.UsageError("--generate and --frames exclude each other: give only one")
    if instruments_file is not None and generate:
        raise click.UsageError("--instruments-file needs --frames: a made-up session has its own instruments")
    if (spikes or count) and not generate:
        raise click.UsageError("--spike and --plant need --generate: a recording cannot be changed")
    if truth is not None and not (spikes or count):
        raise click.UsageError("--truth needs planted spikes: give --spike or --plant")
    if generate:
        source = _generated(on, seed=seed, instruments=instruments, rate=rate, spikes=spikes, count=count, truth=truth)
    elif frames is not None:
        source = _recorded(frames, instruments_file)
    else:
        raise click.UsageError("nothing to play: give --frames FILE or --generate")
    day = bad_day(faults, seed=seed)
    _check_muted(day, source)
    asyncio.run(_serve(source, day, host=host, port=port, token=token, speed=speed))


def _check_muted(day: BadDay, source: Source) -> None:
    from ingest.simulator.server.faults import ALL

    for one in day.episodes:
        if one.switch == "mute" and one.value != ALL and one.value not in source.keys:
            raise click.UsageError(
                f"--mute {one.value!r} is not in the market: give one of its {len(source.keys)} keys, or all"
            )


def _recorded(frames: Path, instruments_file: Path | None) -> Source:
    from ingest.simulator.recorded import RecordedMarket

    click.echo(f"reading {frames.name} …")
    source = RecordedMarket(frames, instruments_file=instruments_file)
    if source.error is not None:
        click.echo(f"warning: {source.error}", err=True)
    return source


def _generated(
    on: date | None,
    *,
    seed: int,
    instruments: int,
    rate: float,
    spikes: list[PlantedSpike],
    count: int,
    truth: Path | None,
) -> Source:
    from ingest.simulator.exchange.instruments import make_universe
    from ingest.simulator.exchange.market import GeneratedMarket
    from ingest.simulator.exchange.planted_truth import random_plant, truth_rows
    from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday

    session = TradingDay(latest_weekday(market_day(datetime.now(UTC))) if on is None else on)
    contracts = make_universe(instruments, session.day)
    plant = [*spikes, *random_plant(contracts, session, count, seed)]
    source = GeneratedMarket(session, seed=seed, instruments=instruments, rate=rate, plant=plant)
    if truth is not None:
        truth.write_text(json.dumps(truth_rows(plant, contracts, session), indent=1) + "\n", encoding="utf-8")
        click.echo(f"planted {len(plant)} spikes; their truth is in {truth}")
    return source


async def _serve(source: Source, day: BadDay, *, host: str, port: int, token: str, speed: float) -> None:
    from ingest.live.stop import stop_signals
    from ingest.simulator.server.app import Simulator
    from ingest.simulator.server.rehearsal import Rehearsal

    with stop_signals() as stop:
        async with Simulator(source, host=host, port=port, token=token, speed=speed) as simulator:
            click.echo(f"UPSTOX_API_URL={simulator.url}")
            click.echo(f"UPSTOX_ASSETS_URL={simulator.url}")
            _say(f"UPSTOX_ACCESS_TOKEN={token}")
            click.echo(f"playing {source.title}, speed {'max' if speed == math.inf else f'{speed:g}'}")
            click.echo("waiting for a client to subscribe; Ctrl-C stops")
            rehearsing = asyncio.create_task(Rehearsal(day, simulator, _say).run(), name="simulator faults")
            progress = asyncio.create_task(_report(simulator), name="simulator progress")
            serving = asyncio.create_task(simulator.serve(), name="simulator")
            stopped = asyncio.create_task(stop.wait(), name="stop signal")
            try:
                await asyncio.wait((serving, rehearsing, stopped), return_when=asyncio.FIRST_COMPLETED)
                for playing in (serving, rehearsing):
                    if playing.done():
                        playing.result()
            finally:
                for task in (rehearsing, progress, serving, stopped):
                    task.cancel()
    click.echo(f"stopped: {simulator.frames_sent} frames, {simulator.updates_sent} updates sent")


def _say(text: str) -> None:
    """Print a line that may contain a token; it opens only this simulator."""
    click.echo(text, file=unfenced_stdout())


async def _report(simulator: Simulator) -> None:
    """Print a progress line now and then, if it has changed."""
    said = ""
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        clock = utc_of_ms(simulator.player.current_ms // 1000 * 1000)
        line = (
            f"{simulator.player.phase.value}: market time {ist(clock)}, "
            f"{simulator.connections} clients, {simulator.frames_sent} frames, {simulator.updates_sent} updates sent"
        )
        if line != said:
            click.echo(line)
        said = line
