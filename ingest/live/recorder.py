"""Recorder: one object that records, for commands and user programs.

Owns the life of a recording as a program sees it: start, change, watch, stop, and start again. The supervisor runs
its tasks; `Ingestion`, which HTTP also uses, owns the recorded keys and their changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self

from ingest.database.connections import Database
from ingest.database.readiness import Readiness
from ingest.errors import ConfigError, SubscriptionError
from ingest.live import status
from ingest.live.ingestion import Ingestion
from ingest.live.latest_ticks import latest_tick
from ingest.live.observe.health import health
from ingest.live.supervisor import MEET_S, Run, start
from ingest.live.tick_handlers import Handler, OnTick, check_handler, name_of
from ingest.model.frames import MODE_NAMES
from ingest.settings import ModeName, Settings
from ingest.settings import settings as settings_of_environment
from ingest.universe.first_universe import universe_to_record
from ingest.universe.keeper import UniverseKeeper
from ingest.worker_thread import in_background

AWAY_S = 1.0  # a short wait, because the database was already found to be away


class TickRecorder:
    """Record the live feed of Upstox: journal, database, bars, status and handlers, as `tickline start` does.

    Call its methods on the event loop on which `start` was called. Each handler has its own thread and event loop, so
    a blocking handler delays nothing else. Recording never waits for the database, which may be away.

    Parameters
    ----------
    names
        Instruments to record from the start: instrument keys, or names such as "INFY" or "NIFTY FUT".
        None: the universe of the settings. Empty: nothing, until `subscribe` is called.
    settings
        Settings; None: those of the environment and `.env`.
    database
        An open database, which stays open; None: that of the settings, embedded or of a URL, which `start` opens and
        the end of the recording closes.
    show
        Called about once a second with the running parts.
    ready
        Called once with the running parts, before the first connection.

    Examples
    --------
    >>> import asyncio
    >>> from ingest.live import Tick, TickRecorder
    >>> async def main():
    ...     recorder = TickRecorder([])  # records nothing yet
    ...     loop, heard = asyncio.get_running_loop(), asyncio.Queue()
    ...
    ...     async def on_tick(tick: Tick):  # runs on its own thread
    ...         loop.call_soon_threadsafe(heard.put_nowait, tick)
    ...
    ...     async with recorder:
    ...         recorder.add_handler(on_tick)
    ...         keys = await recorder.subscribe("RELIANCE", mode="full")
    ...         tick = await heard.get()
    ...         print(tick.symbol, [tick.instrument_key] == keys, recorder.latest_tick("RELIANCE")["price"] > 0)
    ...         print(recorder.is_running, recorder.is_healthy, recorder.status()["subscriptions"]["total_symbols"])
    ...         recorder.remove_handler(on_tick)
    ...         await recorder.unsubscribe("RELIANCE")
    ...     return recorder.is_running
    >>> asyncio.run(main())
    RELIANCE True True
    True True 1
    False
    """

    def __init__(
        self,
        names: Iterable[str] | None = None,
        *,
        settings: Settings | None = None,
        database: Database | None = None,
        show: Callable[[Run], None] = lambda _: None,
        ready: Callable[[Run], None] = lambda _: None,
    ) -> None:
        if isinstance(names, str):
            raise ConfigError(f"names {names!r} is one text: give a list, such as [{names!r}]")
        self._names = None if names is None else tuple(names)
        self._settings, self._given_database = settings, database
        self._show, self._ready = show, ready
        self._handlers: dict[OnTick, Handler | None] = {}  # None: nothing runs
        self._run: Run | None = None  # while it runs
        self._stop = asyncio.Event()
        self._begun = asyncio.Event()
        self._recording: asyncio.Task[Run] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start recording; return when the journal is open and connections are being made.

        Raises
        ------
        ConfigError
            If it runs already, there is no token or nothing to record, or a name means no instrument.
        SubscriptionError
            If the keys do not fit into the connections.
        StoreError
            If the database is away and the keys to record are not known, or if another process records under this
            collector's name.
        JournalError
            If the journal is in use or cannot be written.
        """
        if self._recording is not None and not self._recording.done():
            raise ConfigError("recorder runs already: stop it first")
        self._stop, self._begun = asyncio.Event(), asyncio.Event()
        self._recording = asyncio.create_task(self.record(lambda: nullcontext(self._stop)), name="recorder")
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({self._recording, begun}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._recording.cancel()
            raise
        finally:
            begun.cancel()
        if self._recording.done():
            await self.wait()

    async def stop(self) -> None:
        """Stop; return when all received ticks are committed, or left in the journal for the next start.

        Do nothing if nothing runs. If the recording has failed, raise its error, once.
        """
        self._stop.set()
        await self.wait()

    async def wait(self) -> Run | None:
        """Wait until the recording ends by `stop` or a failure, which is raised; return the parts that ran."""
        if (recording := self._recording) is None:
            return None
        await asyncio.wait({recording})
        self._recording = None
        return recording.result()

    async def record(self, stopping: Callable[[], AbstractContextManager[asyncio.Event]]) -> Run:
        """Record until the event of the caller is set; return the parts that ran. Raises as `start` does.

        `stopping` makes the event, as `stop_signals` does, once the keys to record are known; before, Ctrl-C cancels.
        """
        config = self._settings or settings_of_environment()
        config.token()  # say so at once if there is none
        if self._names is not None:
            config = config.model_copy(update={"universe": self._names, "underlyings": ()})
        database = self._given_database or Database.place(config)
        try:
            readiness = Readiness(database)
            keeper = UniverseKeeper(config, database.url, may_be_empty=self._names == ())
            wanted, is_there = await asyncio.wrap_future(
                in_background("universe", universe_to_record, keeper, readiness)
            )
            with stopping() as stop:
                return await start(
                    config,
                    database.url,
                    wanted,
                    stop=stop,
                    keeper=keeper,
                    show=self._show,
                    ready=self._begin,
                    make_ready=readiness,
                    meet_s=MEET_S if is_there else AWAY_S,
                )
        finally:
            self._run = None
            self._handlers = dict.fromkeys(self._handlers)
            if self._given_database is None:
                await asyncio.to_thread(database.close)

    def _begin(self, run: Run) -> None:
        self._run = run
        for on_tick in self._handlers:
            self._handlers[on_tick] = self._handed_to(run.ingestion, on_tick)
        self._ready(run)
        self._begun.set()

    @property
    def is_running(self) -> bool:
        """Whether it records: from the start until all received ticks are committed, or until it fails."""
        return self._run is not None

    @property
    def is_healthy(self) -> bool:
        """Whether it runs and all data that should flow does; `health` says why not."""
        return self._run is not None and health(self._run.ingestion)["status"] == "healthy"

    def health(self) -> dict[str, Any]:
        """Return `status` ("healthy" or "unhealthy"), `problems`, `warnings` and `conditions`, as `/health` does."""
        if self._run is None:
            problems = ["recorder does not run: start it"]
            return {"status": "unhealthy", "problems": problems, "warnings": [], "conditions": []}
        return health(self._run.ingestion)

    def status(self) -> dict[str, Any]:
        """Return the state of connections and keys and counters, as `tickline status` does, without `gaps_today`."""
        return {"is_running": False} if self._run is None else status.websocket_status(self._run.ingestion)

    def latest_tick(self, name: str) -> dict[str, Any] | None:
        """Return `price`, `volume`, `bid`, `ask` and `timestamp` of the last tick of a symbol or key.

        It costs a few look-ups and does not ask the database. None: there is no tick yet, nothing runs, or no recorded
        instrument has the name.
        """
        if self._run is None:
            return None
        key = self._run.ingestion.key_of(name)
        return None if key is None else latest_tick(self._run.ingestion, key)

    async def subscribe(self, names: str | Iterable[str], mode: ModeName | None = None) -> list[str]:
        """Record one or more instruments from now on, or in another mode, until `unsubscribe` or the end of the run.

        Parameters
        ----------
        names
            Instrument keys, or names as a trader types them.
        mode
            "ltpc", "option_greeks", "full" or "full_d30"; None: the mode of the settings.

        Returns
        -------
        list of str
            The instrument keys of the names.

        Raises
        ------
        ConfigError
            If the mode is unknown.
        UnknownNameError
            If a name means no instrument (the text has near matches) or several.
        SubscriptionError
            If nothing runs, or the keys do not fit into the connections; nothing has changed then.
        StoreError
            If a name must be looked up and the database is away.
        """
        ingestion = self._ingestion()
        if mode is not None and mode not in MODE_NAMES:
            raise ConfigError(f"mode {mode!r} is unknown: give one of {', '.join(MODE_NAMES)}")
        keys = await ingestion.keys_of([names] if isinstance(names, str) else names)
        ingestion.subscribe(keys, mode or ingestion.streams[0].settings.mode)
        return keys

    async def unsubscribe(self, names: str | Iterable[str]) -> list[str]:
        """Stop recording instruments until `subscribe` or the next start; returns and raises as `subscribe` does."""
        ingestion = self._ingestion()
        keys = await ingestion.keys_of([names] if isinstance(names, str) else names)
        ingestion.unsubscribe(keys)
        return keys

    def add_handler(self, on_tick: OnTick) -> OnTick:
        """Call an async function with each tick (`Tick`) from now on, in this run and later ones; return it.

        Raises
        ------
        ConfigError
            If it is not an async function.
        """
        check_handler(on_tick, name_of(on_tick))
        if on_tick not in self._handlers:
            self._handlers[on_tick] = self._handed_to(self._run.ingestion, on_tick) if self._run else None
        return on_tick

    def remove_handler(self, on_tick: OnTick) -> None:
        """Stop calling a function; it still gets its waiting ticks. Removing one that was not added is no error."""
        handler = self._handlers.pop(on_tick, None)
        if handler is not None and self._run is not None:
            self._run.ingestion.remove_handler(handler)

    def _ingestion(self) -> Ingestion:
        if self._run is None:
            raise SubscriptionError("recorder does not run: start it first")
        return self._run.ingestion

    @staticmethod
    def _handed_to(ingestion: Ingestion, on_tick: OnTick) -> Handler:
        handler = Handler(name_of(on_tick), on_tick)
        ingestion.add_handler(handler)
        return handler
