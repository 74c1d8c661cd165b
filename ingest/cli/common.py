"""What commands share: a database that is ready, and instruments that are known."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from ingest.database.connections import HEAD, Database, revision, translated
from ingest.database.upgrade import upgrade
from ingest.errors import ConfigError, Retryable, StoreError, TicklineError
from ingest.settings import Settings
from ingest.universe.keeper import UniverseKeeper
from ingest.universe.resolved_names import recalled

log = logging.getLogger(__name__)

READY_S = 10.0  # a database that takes longer is away; to make an embedded one takes seconds


class SlowError(Retryable):
    """The database may become ready yet."""


def ready_database(settings: Settings) -> Database:
    """Open the database, ready to be used; see `make_ready`."""
    database = Database.place(settings)
    try:
        make_ready(database)
    except BaseException:
        database.close()
        raise
    return database


def make_ready(database: Database) -> None:
    """Bring the database up; make the schema where there is none, migrate it where it is ours alone.

    An embedded database belongs to this program and is migrated. Somebody else's is only filled
    when it is empty: migrating it is for `tickline db upgrade`.

    Raises
    ------
    ConfigError
        If the settings want another engine than the database has, or one that cannot be had.
    StoreError
        If it is away, or its schema is not the one this program is written for.
    """
    database.bring_up()
    with translated(), database.connect() as connection:
        found = revision(connection)
    if found is None or (database.server is not None and found != HEAD):
        upgrade(database)
    database.check()


class Readiness:
    """What makes a database ready, now or when it comes; who else asks meanwhile waits for the one that tries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()

    def __call__(self) -> None:
        """Make it ready; raises as `make_ready` does."""
        with self._turn:
            make_ready(self._database)

    def attempt(self, within_s: float) -> TicklineError | None:
        """Make it ready; return why it is not. What takes longer goes on beside."""
        attempt: Future[None] = Future()

        def work() -> None:
            try:
                self()
            except BaseException as exc:
                attempt.set_exception(exc)
            else:
                attempt.set_result(None)

        threading.Thread(target=work, name="readiness", daemon=True).start()
        try:
            attempt.result(within_s)
        except TimeoutError:
            return SlowError(f"database is not ready after {within_s:g} s: see `tickline db status`")
        except (StoreError, ConfigError) as exc:
            return exc
        return None


def universe_to_record(keeper: UniverseKeeper, ready: Readiness) -> tuple[dict[str, str], bool]:
    """Return the keys -> modes that are wanted now, those that are known without the database if it is not there.

    The second value tells whether it is.

    Raises
    ------
    TicklineError
        If there is nothing to record: the database is away, and no key is given and no name was resolved before.
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
    ready()  # there is nothing to record meanwhile
    return known_universe(keeper), True


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
