"""The installation under examination: its settings, its database, and the ingester that runs on it.

Owns what several checks need, found once. Must not know what is good or bad.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from ingest.addresses import is_loopback
from ingest.database.connections import Database
from ingest.database.operations.status import Status, status
from ingest.errors import ConfigError, NoIngesterError, TicklineError
from ingest.own_api import HEALTH, STATUS, TICKS, WRITER, NotServedError, OwnApi
from ingest.settings import Settings, settings
from ingest.worker_thread import in_background

DATABASE_S = 25.0  # an embedded server may have to recover first

Found = TypeVar("Found")


class NotCheckedError(Exception):
    """A check needs something that is not there; its own check says why."""


class NoDatabaseYetError(NotCheckedError):
    """The embedded database was not made yet."""


class Installation:
    """An installation; close it.

    Parameters
    ----------
    stored_token
        Returns the token of the HTTP API in a home folder, or that of another file's name; asked for the API only when
        the ingester does not listen on loopback.
    collectors
        Sources of `tickline write` that are examined, too.
    """

    def __init__(self, stored_token: Callable[..., str | None], collectors: Sequence[str] = ()) -> None:
        self.collectors = collectors
        self._settings: Settings | ConfigError
        try:
            self._settings = settings()
        except ConfigError as exc:
            self._settings = exc
        self._stored_token = stored_token
        self._opened: Future[Database] | None = None
        self._status: Future[Status] | None = None
        self._answers: dict[str, Future[dict[str, Any]]] = {}
        if isinstance(self._settings, Settings):
            self._opened = in_background("doctor opens the database", _open, self._settings)
            self._status = in_background("doctor reads the database", self._read_status)
            for path in (STATUS, TICKS, HEALTH, WRITER):
                self._answers[path] = in_background(f"doctor asks {path}", partial(self._ask, self._settings, path))

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.now(UTC)

    def given_settings(self) -> Settings:
        """Return the settings; raise ConfigError if they are wrong. For the check of the settings."""
        if isinstance(self._settings, ConfigError):
            raise self._settings
        return self._settings

    @property
    def settings(self) -> Settings:
        """The settings, for checks that need them."""
        if isinstance(self._settings, ConfigError):
            raise NotCheckedError("the settings are wrong")
        return self._settings

    def open_database(self) -> Database:
        """Return the database; raise TicklineError if it cannot be used. For the check of the server."""
        return self._result(self._opened, "the settings are wrong")

    @property
    def database(self) -> Database:
        """The database, for checks that need it."""
        try:
            return self.open_database()
        except TicklineError:
            raise NotCheckedError("the database cannot be used") from None

    @property
    def database_status(self) -> Status:
        """Facts of the database, as `tickline db status` shows them."""
        self.database  # noqa: B018  raises if there is none
        return self._result(self._status, "the settings are wrong")

    def stored_token(self, name: str) -> str | None:
        """Return the token in a file of the home folder; None: there is none. Raises ConfigError."""
        return self._stored_token(self.settings.home, name)

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return the answer of what runs; None: nothing does, or it has no such path: a writer is no recorder.

        Raises TicklineError if another program answers.
        """
        try:
            return self._result(self._answers.get(path), "the settings are wrong")
        except (NoIngesterError, NotServedError):
            return None

    def collector(self) -> dict[str, Any] | None:
        """Return the status of the collector that runs, which needs no database; None: none does."""
        try:
            status = self.answer(STATUS)
        except TicklineError:
            return None  # its own check says so
        is_one = status and (status.get("journal_server") or {}).get("is_collector")
        return status if is_one else None

    def close(self) -> None:
        """End the use of the database, if it was opened."""
        if self._opened is not None and self._opened.done() and self._opened.exception() is None:
            self._opened.result().close()

    def _result(self, future: Future[Found] | None, missing: str) -> Found:
        if future is None:
            raise NotCheckedError(missing)
        try:
            return future.result(DATABASE_S)
        except TimeoutError:
            raise NotCheckedError(f"no answer within {DATABASE_S:g} s") from None

    def _read_status(self) -> Status:
        return status(self.database)

    def _ask(self, config: Settings, path: str) -> dict[str, Any]:
        token = None if is_loopback(config.api_host) else self._stored_token(config.home)
        return OwnApi(config.api_host, config.api_port, token).ask(path)


def _open(config: Settings) -> Database:
    """Open the database and connect to it once; make none."""
    database = Database.place(config)
    if config.database_url is None and not (config.home / "postgres" / "data" / "PG_VERSION").exists():
        raise NoDatabaseYetError("there is no database yet")
    database.bring_up()
    try:
        database.connect(autocommit=True).close()
    except BaseException:
        database.close()
        raise
    return database
