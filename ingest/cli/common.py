"""What commands share: a database that is ready, and instruments that are known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.config import Settings
from ingest.instruments import IST, is_fresh, load_master
from ingest.upstox import MASTER_PATH, UpstoxApi
from sql.apply import upgrade
from sql.database import Database, revision
from sql.errors import ConfigError, FeedError

log = logging.getLogger(__name__)

EXCHANGE = "NSE"


def ready_database(settings: Settings) -> Database:
    """Open the database; make the schema where there is none, migrate it where it is ours alone.

    An embedded database belongs to this program and is migrated. Somebody else's is only filled
    when it is empty: migrating it is for `tickline db upgrade`.
    """
    database = Database.open(settings)
    try:
        with database.connect() as connection:
            absent = revision(connection) is None
        if absent or database.server is not None:
            upgrade(database)
        assert database.engine  # checks the schema
    except BaseException:
        database.close()
        raise
    return database


async def _fetch_master(settings: Settings) -> bytes:
    async with UpstoxApi(settings) as api:
        return await api.instrument_master(EXCHANGE)


def known_keys(settings: Settings, database: Database, names: Sequence[str]) -> list[str]:
    """Return the instrument keys that names mean today, with today's master where it can be had.

    Raises
    ------
    ConfigError
        If a name means nothing, with near matches; or if there is no name at all.
    """
    from sql.resolve import resolve

    if not names:
        raise ConfigError(
            "nothing to record: name instruments, as in `tickline start INFY 'NIFTY FUT'`, or set TICKLINE_UNIVERSE"
        )
    source = settings.assets_url + MASTER_PATH.format(exchange=EXCHANGE)
    now = datetime.now(UTC)
    with database.connect(autocommit=True) as connection:
        if not is_fresh(connection, source, now):
            try:
                rows = load_master(connection, asyncio.run(_fetch_master(settings)), source)
                log.info("instrument master loaded source=%s rows=%d", source, rows)
            except FeedError as exc:
                log.warning("instrument master not refreshed, the last good one is used error=%s", exc)
        return [found.instrument_key for found in resolve(connection, list(names), on=(now + IST).date())]
