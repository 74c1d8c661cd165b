"""What commands share: a database that is ready, and instruments that are known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.config import Settings
from ingest.universe_keeper import UniverseKeeper
from sql.apply import upgrade
from sql.database import HEAD, Database, revision

log = logging.getLogger(__name__)


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


def known_keys(settings: Settings, database: Database, names: Sequence[str]) -> list[str]:
    """Return the instrument keys that names mean today, with today's master where it can be had.

    Raises
    ------
    ConfigError
        If a name means nothing, with near matches; or if there is no name at all.
    """
    keeper = UniverseKeeper(settings.model_copy(update={"universe": tuple(names), "underlyings": ()}), database.url)
    return list(known_universe(keeper))


def known_universe(keeper: UniverseKeeper) -> dict[str, str]:
    """Return the keys -> modes that are wanted now, with today's master and calendar where they can be had."""
    found = asyncio.run(keeper.wanted(datetime.now(UTC)))
    if found.unpriced:
        log.info("options are subscribed as soon as the underlying ticks underlyings=%s", ",".join(found.unpriced))
    return found.keys
