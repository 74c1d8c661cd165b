"""`tickline universe`: show what is recorded, plan its connections, load the instrument master."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingest.universe.connection_plan import AccountLimits
    from ingest.universe.selection import Universe

log = logging.getLogger(__name__)


@click.group("universe")
def command() -> None:
    """Show and plan what is recorded; load the instrument master.

    The settings choose it: single instruments in TICKLINE_UNIVERSE, whole underlyings in
    TICKLINE_UNDERLYINGS and the settings after it in `tickline config`.
    """


@command.command()
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def show(form: str) -> None:
    """List the instruments to record now, with their modes."""
    from ingest.database.readiness import ready_database
    from ingest.database.resolve import look_up
    from ingest.settings import settings
    from ingest.universe.instrument_master import master_age
    from ingest.universe.keeper import UniverseKeeper

    config, now = settings(), datetime.now(UTC)
    with ready_database(config) as database, database.connect(autocommit=True) as connection:
        keeper = UniverseKeeper(config, database.url)
        asyncio.run(keeper.refresh(now))
        found = keeper.look(now)
        known, _ = look_up(connection, list(found.keys), on=keeper.calendar.contract_day(now))
        symbols = {key: known[key].trading_symbol or "" if key in known else "" for key in found.keys}
        age = master_age(connection, now)
    if form == "json":
        listed = {key: {"mode": mode, "trading_symbol": symbols[key]} for key, mode in found.keys.items()}
        click.echo(json.dumps(listed, indent=2))
        return
    if form == "csv":
        click.echo("instrument_key,mode,trading_symbol")
    for key, mode in found.keys.items():
        symbol = symbols[key]
        click.echo(f"{key},{mode},{symbol}" if form == "csv" else f"{key:<28} {mode:<14} {symbol}")
    click.echo(f"{len(found.keys):,} instruments; instrument master: {age}", err=True)
    _say_unpriced(found.unpriced)


@command.command()
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME[=plus][,standby][,N]",
    help="A collector with its own account, as `chennai=plus,3`: plus, standby, at most N connections. Repeat it.",
)
def plan(accounts: tuple[str, ...]) -> None:
    """Show how the keys are spread over connections, or over several accounts.

    Fails and prints the limits when the keys do not fit: Upstox silently ignores extra keys. With --account it shows
    which collector `tickline write` gives how many keys, and names those for which no account has room.
    """
    from ingest.database.readiness import ready_database
    from ingest.settings import settings
    from ingest.universe.connection_plan import LIMITS, AccountLimits
    from ingest.universe.connection_plan import plan as planned
    from ingest.universe.keeper import UniverseKeeper

    limits = dict(map(_account, accounts))
    config, now = settings(), datetime.now(UTC)
    with ready_database(config) as database:
        keeper = UniverseKeeper(config, database.url)
        found = asyncio.run(keeper.wanted(now))
    account = AccountLimits.of(plus=config.plus, connections_max=config.connections_max, standby=config.standby)
    if found.unpriced:
        _say_unpriced(found.unpriced)
        found = keeper.supposed(found, now)
    if limits:
        _show_collectors(found, limits)
        return
    made = planned(found.keys, account)
    for number, counts in enumerate(made.counts(), 1):
        alone = len(counts) == 1
        held = ", ".join(
            f"{n:,} {mode} of {LIMITS[mode].alone if alone else LIMITS[mode].combined:,}" for mode, n in counts.items()
        )
        click.echo(f"connection {number}: {held}")
    totals = Counter(found.keys.values())
    click.echo(
        f"{len(found.keys):,} keys ({', '.join(f'{n:,} {mode}' for mode, n in totals.items())}) "
        f"on {len(made.connections)} connection(s) of {account}; subscribed in "
        f"{made.subscribe_s(config.subscribe_batch_keys, config.subscribe_interval_ms):g} s"
    )


@command.command()
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Load this list (JSON, also gzipped); fetch nothing from the vendor.",
)
def refresh(path: Path | None) -> None:
    """Load the vendor's instrument master and market calendar."""
    from ingest.database.readiness import ready_database
    from ingest.errors import FeedError
    from ingest.settings import settings
    from ingest.universe.calendar_file import refresh_calendar
    from ingest.universe.instrument_master import load_master
    from ingest.upstox.rest import MASTER_PATH, UpstoxApi

    config = settings()

    async def fetch() -> dict[str, bytearray]:
        async with UpstoxApi(config) as api:
            try:
                calendar = await refresh_calendar(api, config.home, config.api_url, datetime.now(UTC))
                click.echo(f"market calendar: {len(calendar.days)} days with hours, {len(calendar.closed)} holidays")
            except FeedError as exc:
                log.warning("market calendar not refreshed error=%s", exc)
            return {
                config.assets_url + MASTER_PATH.format(exchange=name): await api.instrument_master(name)
                for name in config.exchanges
            }

    with ready_database(config) as database, database.connect(autocommit=True) as connection:
        masters = {str(path): bytearray(path.read_bytes())} if path is not None else asyncio.run(fetch())
        for source, data in masters.items():
            loaded = load_master(connection, data, source, unpacked_bytes_max=config.master_unpacked_bytes_max)
            click.echo(f"instrument master: {loaded.rows:,} instruments from {source}")
            if loaded.odd.count:
                click.echo(str(loaded.odd), err=True)


def _account(text: str) -> tuple[str, AccountLimits]:
    """Return the collector and the limits that an option means."""
    from ingest.settings import COLLECTOR
    from ingest.universe.connection_plan import AccountLimits

    name, _, rest = text.partition("=")
    said = [part.strip() for part in rest.split(",") if part.strip()]
    numbers = [int(part) for part in said if part.isdecimal()]
    if not re.fullmatch(COLLECTOR, name) or len(numbers) > 1 or set(said) - {"plus", "standby", *map(str, numbers)}:
        raise click.UsageError(f"--account {text!r} is none: write a collector's name, or as 'chennai=plus,standby,4'")
    return name, AccountLimits.of(
        plus="plus" in said, connections_max=numbers[0] if numbers else None, standby="standby" in said
    )


def _show_collectors(found: Universe, accounts: dict[str, AccountLimits]) -> None:
    """Print how many keys each collector gets; fail if some have no room."""
    from ingest.errors import SubscriptionError
    from ingest.universe.collector_plan import spread

    made = spread(found.by_importance(), accounts)
    for name, keys in made.keys.items():
        counts = ", ".join(f"{n:,} {mode}" for mode, n in Counter(keys.values()).items()) or "no keys"
        click.echo(f"collector {name}: {counts} on {accounts[name]}")
    click.echo(f"{len(found.keys) - len(made.left_out):,} of {len(found.keys):,} keys on {len(made.keys)} account(s)")
    if made.left_out:
        remedy = "add an account, or choose fewer strikes, expiries or underlyings, or a lighter mode"
        raise SubscriptionError(f"{made.left_out_text}: {remedy}")


def _say_unpriced(symbols: tuple[str, ...]) -> None:
    if symbols:
        click.echo(
            f"options of {len(symbols):,} underlying(s) wait for a first price: {', '.join(symbols[:10])}"
            f"{' …' if len(symbols) > 10 else ''}",
            err=True,
        )
