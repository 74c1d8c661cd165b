"""The universe at the start of a run, with or without the database.

Owns the wait before the first subscription, and the choice of what to record while the database is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from ingest.database.connections import Database
from ingest.database.readiness import Readiness, SlowError
from ingest.errors import Retryable, StoreError
from ingest.settings import Settings
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.resolved_names import recalled

log = logging.getLogger(__name__)

READY_S = 10.0  # a database that takes longer counts as away; creating an embedded one takes seconds


def universe_to_record(keeper: UniverseKeeper, ready: Readiness) -> tuple[dict[str, str], bool]:
    """Return the wanted keys -> modes; without the database, those known without it.

    The second value tells whether the database is there.

    Raises
    ------
    TicklineError
        If there is nothing to record: the database is away, no key is given and no name was resolved before.
    """
    away = ready.attempt(READY_S)
    try:
        if away is None:
            return known_universe(keeper), True
    except StoreError as exc:
        away = exc
    if keys := recalled(keeper.settings):
        level = logging.WARNING if isinstance(away, Retryable) else logging.ERROR
        log.log(level, "starting without the database, frames go into the journal until it is there error=%s", away)
        return keys, False
    if not isinstance(away, SlowError):
        raise away
    ready()  # there is nothing to record in the meantime
    return known_universe(keeper), True


def known_keys(settings: Settings, database: Database, names: Sequence[str]) -> dict[str, str]:
    """Return the instrument keys that names mean today, each with its name, using today's master if it is available.

    Raises
    ------
    ConfigError
        If a name is unknown, with near matches; or if there is no name at all.
    """
    keeper = UniverseKeeper(settings.model_copy(update={"universe": tuple(names), "underlyings": ()}), database.url)
    found = known_universe(keeper)
    typed = {key: name for name in reversed(names) if (key := keeper.key_of(name)) is not None}
    return {key: typed.get(key, key) for key in found}


def known_universe(keeper: UniverseKeeper) -> dict[str, str]:
    """Return the wanted keys -> modes, using today's master and calendar if they are available."""
    found = asyncio.run(keeper.wanted(datetime.now(UTC)))
    if found.unpriced:
        log.info("options are subscribed as soon as the underlying ticks underlyings=%s", ",".join(found.unpriced))
    return found.keys
