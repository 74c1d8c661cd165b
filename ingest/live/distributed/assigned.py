"""Assigned keys: a collector that records what writers give it, and what was given last while none speaks.

Owns the file `journal/<collector>/universe.csv`, in the form of TICKLINE_UNIVERSE_FILE, and the rule that one database
gives the keys, the one that commits the journal.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING

from ingest.errors import ConfigError, SubscriptionError
from ingest.feed.key_states import KeyState
from ingest.files import PRIVATE, replace_file
from ingest.live.observe.health import flows_of
from ingest.settings import Settings
from ingest.transport.assignment import Standing, Unheard, digest_of
from ingest.transport.cursor import Cursor, OtherDatabaseError
from ingest.universe.collector_plan import as_values
from ingest.universe.connection_plan import LIMITS, AccountLimits, plan
from ingest.universe.key_file import keys_of_file

if TYPE_CHECKING:
    from ingest.live.ingestion import Ingestion

log = logging.getLogger(__name__)

FILE = "universe.csv"
HEAD = "# given by database: "
# A collector that comes back has lost its keys to others if it was away for long. So it waits for a writer's word, who
# asks each second, before it goes on with what it had: nothing is recorded twice.
WORD_S = 5.0
LOOK_S = 1.0
UNHEARD_S = 1.0  # a connection that comes back sooner is not told of
ANSWERED = (KeyState.CONFIRMED, KeyState.SILENT)


class AssignedKeys:
    """What writers want this collector to record. Make it on the event loop that records.

    Parameters
    ----------
    settings
        The journal's folder, and the collector's name.
    cursor
        Which database commits the journal.
    account
        Limits of the collector's account.

    Raises
    ------
    ConfigError
        If the file with the keys given last cannot be read.
    """

    def __init__(self, settings: Settings, cursor: Cursor, account: AccountLimits) -> None:
        self._collector, self._cursor, self._account = settings.collector, cursor, account
        self._path = settings.journal_folder / FILE
        self._loop = asyncio.get_running_loop()
        self._ingestion: Ingestion | None = None
        self._taking = asyncio.Lock()
        self._told = asyncio.Event()
        self._now: tuple[dict[str, str], str] = {}, digest_of({})  # recorded keys and their digest
        self._hears = False
        self._answers: tuple[tuple[str, ...], int] = (), 0  # keys without an answer, and the feed's time
        self._heard_s = time.monotonic()
        self._silent_since_s: dict[str, float] = {}  # streams over which nothing comes
        self._unheard: tuple[Unheard, ...] = ()
        self._database, self._last = "", dict[str, str]()  # as in the file
        if self._path.exists():
            with self._path.open(encoding="utf-8", errors="replace") as file:
                head = file.readline()
            self._database = head.removeprefix(HEAD).strip() if head.startswith(HEAD) else ""
            self._last = keys_of_file(self._path, settings.mode)

    def standing(self, known: str) -> Standing:
        """Return what the collector says of itself; see `Assignee`."""
        keys, digest = self._now
        return Standing(
            self._collector,
            as_values(self._account),
            "",
            digest,
            None if known == digest else keys,
            self._hears,
            round(time.monotonic() - self._heard_s, 1),
            *self._answers,
            self._unheard,
            not self._told.is_set(),
        )

    def take(self, keys: dict[str, str], database: str) -> Future[None]:
        """Record these keys from now on; see `Assignee`."""
        return asyncio.run_coroutine_threadsafe(self._take(keys, database), self._loop)

    async def run(self, ingestion: Ingestion) -> None:
        """Wait for a writer's word, or go on with the keys given last; then look whether the feed is heard."""
        self._ingestion = ingestion
        ingestion.awaits_keys = not self._last and not self._told.is_set()
        with suppress(TimeoutError):
            async with asyncio.timeout(WORD_S):
                await self._told.wait()
        async with self._taking:
            if not self._told.is_set() and self._last:
                log.warning("no writer has spoken: going on with the keys given last keys=%d", len(self._last))
                self._record(self._last)
        if not self._now[0]:
            log.warning("no keys yet: run `tickline write` with the address of this collector and a universe")
        while True:
            self._look(ingestion)
            await asyncio.sleep(LOOK_S)

    def _look(self, ingestion: Ingestion) -> None:
        """Find out what is heard."""
        flows, now_s = flows_of(ingestion), time.monotonic()
        heard = not flows or any(comes for _, comes in flows)
        self._hears = heard and bool(self._now[0])
        if heard:
            self._heard_s = now_s
        since_s = {stream.name: self._silent_since_s.get(stream.name, now_s) for stream, comes in flows if not comes}
        self._silent_since_s = since_s
        self._unheard = tuple(
            Unheard(
                tuple(stream.feed.keys),
                round(now_s - since_s[stream.name], 1),
                stream.consumer.state.break_detector.last_ms,
            )
            for stream, _ in flows
            if heard and now_s - since_s.get(stream.name, now_s) >= UNHEARD_S
        )
        feeds = [feed for stream in ingestion.streams for feed in stream.feeds]
        answered = {key for feed in feeds for state in ANSWERED for key in feed.states.in_state(state)}
        last_ms = max(stream.consumer.state.break_detector.last_ms for stream in ingestion.streams)
        self._answers = tuple(self._now[0].keys() - answered), last_ms

    async def _take(self, keys: Mapping[str, str], database: str) -> None:
        async with self._taking:
            owner = self._cursor.database() or self._database
            if owner and owner != database:
                raise OtherDatabaseError(
                    f"collector {self._collector!r} belongs to database {owner!r}, not to {database!r}: if that one is "
                    f"given up, remove {FILE!r} and 'committed.json' from the journal's folder"
                )
            if self._ingestion is None:
                raise ConfigError("the collector is starting: ask again")
            if wrong := next((key for key, mode in keys.items() if mode not in LIMITS or "," in key), None):
                raise ConfigError(f"key {wrong!r} with mode {keys[wrong]!r} cannot be recorded: is a version too old?")
            plan(keys, self._account)
            text = f"{HEAD}{database}\n" + "".join(f"{key},{mode}\n" for key, mode in keys.items())
            await asyncio.to_thread(replace_file, self._path, text.encode(), mode=PRIVATE)
            self._database, self._last = database, dict(keys)
            self._record(keys)
            self._told.set()
            self._ingestion.awaits_keys = False

    def _record(self, keys: Mapping[str, str]) -> None:
        """Subscribe and unsubscribe on the open connections; keys on both sides are not touched."""
        assert self._ingestion is not None
        if not self._now[0]:
            self._heard_s = time.monotonic()
        self._ingestion.follow(keys)
        before, last_ms = set(self._answers[0]), self._answers[1]
        self._answers = tuple(key for key in keys if key not in self._now[0] or key in before), last_ms
        self._now = dict(keys), digest_of(keys)
        self._hears = self._hears and bool(keys)


class OwnKeys:
    """A collector that has keys of its own, from its settings or a file: it says so, and takes none.

    Parameters
    ----------
    collector
        Its name.
    account
        Limits of its account.
    """

    REFUSES = "it has keys of its own: unset TICKLINE_UNIVERSE and TICKLINE_UNIVERSE_FILE there"

    def __init__(self, collector: str, account: AccountLimits) -> None:
        self._collector, self._account = collector, account

    def standing(self, known: str) -> Standing:
        """Return what the collector says of itself; see `Assignee`."""
        return Standing(self._collector, as_values(self._account), self.REFUSES, digest_of({}), {}, False, 0.0)

    def take(self, keys: dict[str, str], database: str) -> Future[None]:
        """Refuse; see `Assignee`."""
        refused: Future[None] = Future()
        refused.set_exception(SubscriptionError(f"collector {self._collector!r} takes no keys: {self.REFUSES}"))
        return refused
