"""What commands share: a database that is ready, and instruments that are known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from ingest.calendar_cache import load_calendar
from ingest.config import Settings
from ingest.instruments import IST, is_fresh, load_master, loaded_at
from ingest.session import Calendar
from ingest.universe import Chain, Contract, Rules, Universe, Window, chains_of, chosen, wanted
from ingest.upstox import MASTER_PATH, UpstoxApi
from sql import query
from sql.apply import upgrade
from sql.database import HEAD, Database, revision
from sql.errors import ConfigError, FeedError

log = logging.getLogger(__name__)

EXCHANGE = "NSE"
NOTHING_REMEDY = (
    "name instruments, as in `tickline start INFY 'NIFTY FUT'`, or set TICKLINE_UNIVERSE or TICKLINE_UNDERLYINGS"
)


def ready_database(settings: Settings) -> Database:
    """Open the database; make the schema where there is none, migrate it where it is ours alone.

    An embedded database belongs to this program and is migrated. Somebody else's is only filled
    when it is empty: migrating it is for `tickline db upgrade`.
    """
    database = Database.open(settings)
    try:
        with database.connect() as connection:
            found = revision(connection)
        if found is None or (database.server is not None and found != HEAD):
            upgrade(database)
        assert database.engine  # checks the schema
    except BaseException:
        database.close()
        raise
    return database


async def _fetch_master(settings: Settings) -> bytes:
    async with UpstoxApi(settings) as api:
        return await api.instrument_master(EXCHANGE)


def fresh_master(settings: Settings, connection: psycopg.Connection[Any], now: datetime) -> None:
    """Load today's instrument master, unless it is loaded; if it cannot be had, say how old the last one is."""
    source = settings.assets_url + MASTER_PATH.format(exchange=EXCHANGE)
    if is_fresh(connection, source, now):
        return
    try:
        rows = load_master(connection, asyncio.run(_fetch_master(settings)), source)
        log.info("instrument master loaded source=%s rows=%d", source, rows)
    except FeedError as exc:
        log.warning("instrument master not refreshed, %s error=%s", master_age(connection, now), exc)


def master_age(connection: psycopg.Connection[Any], now: datetime) -> str:
    """Say how old the instrument master is."""
    loaded = loaded_at(connection)
    if loaded is None:
        return "there is none yet"
    return f"the last one is {(now - loaded).total_seconds() / 3600:.1f} hours old"


def rules_of(settings: Settings) -> Rules:
    """Return the universe rules as the settings have them."""
    return Rules(
        underlyings=settings.underlyings,
        exclude=settings.underlyings_exclude,
        spot=settings.spot,
        futures=settings.futures,
        option_strikes=settings.option_strikes,
        option_expiries=settings.option_expiries,
        spot_mode=settings.spot_mode or settings.mode,
        futures_mode=settings.futures_mode or settings.mode,
        options_mode=settings.options_mode or settings.mode,
        hysteresis=settings.atm_hysteresis,
    )


def universe_of(
    settings: Settings,
    connection: psycopg.Connection[Any],
    now: datetime,
    *,
    calendar: Calendar,
    centres: Mapping[Window, float] | None = None,
) -> Universe:
    """Return what the settings want at a time: the rules' keys and the single names.

    Prices of the underlyings are their last ticks in the database.

    Raises
    ------
    ConfigError
        If the settings name nothing, or an instrument that is not known.
    """
    from sql.resolve import resolve

    if not settings.universe and not settings.underlyings:
        raise ConfigError(f"nothing to record: {NOTHING_REMEDY}")
    rules, on = rules_of(settings), calendar.contract_day(now)
    found = resolve(connection, list(settings.universe), on=on)
    chains: dict[str, Chain] = {}
    spots: dict[str, float] = {}
    if settings.underlyings:
        rows = connection.execute(query("living_contracts"), {"on": on}).fetchall()
        chains = chains_of(Contract(*row) for row in rows)
        keys = [chain.underlying_key for chain in chosen(rules, chains)]
        spots = dict(connection.execute(query("last_prices"), {"instrument_keys": keys}).fetchall())
    named = {instrument.instrument_key: settings.mode for instrument in found}
    return wanted(rules, chains, spots=spots, on=on, centres=centres, named=named)


def known_keys(settings: Settings, database: Database, names: Sequence[str]) -> list[str]:
    """Return the instrument keys that names mean today, with today's master where it can be had.

    Raises
    ------
    ConfigError
        If a name means nothing, with near matches; or if there is no name at all.
    """
    from sql.resolve import resolve

    if not names:
        raise ConfigError(f"nothing to record: {NOTHING_REMEDY}")
    now = datetime.now(UTC)
    with database.connect(autocommit=True) as connection:
        fresh_master(settings, connection, now)
        return [found.instrument_key for found in resolve(connection, list(names), on=(now + IST).date())]


def known_universe(settings: Settings, database: Database) -> dict[str, str]:
    """Return the keys -> modes that the settings want now, with today's master where it can be had."""
    now = datetime.now(UTC)
    with database.connect(autocommit=True) as connection:
        fresh_master(settings, connection, now)
        found = universe_of(settings, connection, now, calendar=load_calendar(settings.home))
    if found.unpriced:
        log.warning(
            "options not subscribed, no price of the underlying yet: start again when it has ticked underlyings=%s",
            ",".join(found.unpriced),
        )
    return found.keys
