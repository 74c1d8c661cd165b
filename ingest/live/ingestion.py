"""Ingestion: the keys recorded over all connections, and how to change them while it runs.

Owns the plan in force: which stream carries which keys. What is wanted is the universe of the settings,
without keys unsubscribed by hand and with keys subscribed by hand, until the next start.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ingest.database.questions import Questions
from ingest.database.resolve import look_up, spelling
from ingest.errors import SubscriptionError, UnknownNameError
from ingest.feed.key_states import KeyState
from ingest.last_error import LastErrors
from ingest.live.fence import Fence
from ingest.live.observe.conditions import Facts
from ingest.live.stream import Stream
from ingest.live.tick_handlers import Handler, Names
from ingest.live.watchdog import Watchdog
from ingest.market.time import market_day
from ingest.model.keys import is_key
from ingest.model.ticks import Floats
from ingest.pipeline.naming import Naming
from ingest.store.retrying_writer import RetryingWriter
from ingest.universe.connection_plan import AccountLimits, ConnectionPlan, plan

if TYPE_CHECKING:
    from ingest.live.distributed.leased_work import LeasedWork
    from ingest.transport.broker.publisher import Publisher
    from ingest.transport.server import JournalServer

log = logging.getLogger(__name__)

NAMED_MAX = 10  # keys in one error
NAMES_AT_ONCE = 100  # names per look-up; near matches of 100 unknown names take a second


class Broadcast(Protocol):
    """Who passes ticks on to other programs; see `ingest.live.broadcast`."""

    def take(self, stream: Stream, rows: Floats, names: Names) -> None:
        """Take new rows; they are valid during the call only."""

    def fail(self) -> None:
        """End all clients, because `take` has failed."""

    def account(self) -> dict[str, Any]:
        """Return clients and counters, for the status."""


class Ingestion:
    """A running ingestion, as commands, HTTP and user programs see and change it.

    Parameters
    ----------
    streams
        The streams: one per connection of the account, and possibly more, which only commit the journals
        that an earlier run has left.
    account
        Limits of the vendor.
    watchdog
        Checks the streams.
    writer
        Commits the batches of all streams.
    handlers
        Called with each tick.
    questions
        Asks the database, for names.
    universe_key
        Returns the key that a name of the universe means now; None: the name is not in it.
    errors
        Receives the errors of background tasks; None: a new store.

    Attributes
    ----------
    keys
        Wanted keys: instrument key -> mode.
    fence
        Contains failures of the background tasks.
    evening
        State of the evening job, for the status; None: there is none.
    broadcast
        Passes ticks on to other programs while they listen; None: nothing does.
    journal_server
        Serves the journal to writers elsewhere; None: nobody does.
    publisher
        Sends the journal through a broker; None: nobody does.
    leased
        What one process on the database does at a time: bars, and their repair.
    awaits_keys
        Whether it is a collector whose keys writers give, and none has yet.
    began_s
        When it was made, by the monotonic clock.
    alert_counts
        Alerts to people by outcome; None: nobody is alerted.
    facts
        What the observer has learnt for the conditions.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        account: AccountLimits,
        watchdog: Watchdog,
        writer: RetryingWriter,
        handlers: Iterable[Handler] = (),
        *,
        questions: Questions,
        universe_key: Callable[[str], str | None] = lambda name: None,
        errors: LastErrors | None = None,
    ) -> None:
        self.streams = tuple(streams)
        self.account = account
        self.watchdog = watchdog
        self.writer = writer
        self.questions = questions
        self._universe_key = universe_key
        self.errors = errors or LastErrors(watchdog.time_source)
        self.fence = Fence(watchdog.time_source, self.errors)
        self.facts = Facts()
        self.alert_counts: Counter[str] | None = None
        self.evening: Mapping[str, str | None] | None = None
        self.handlers: list[Handler] = []
        self.broadcast: Broadcast | None = None
        self.journal_server: JournalServer | None = None
        self.publisher: Publisher | None = None
        self.leased: Sequence[LeasedWork] = ()
        self.awaits_keys = False
        self.began_s = time.monotonic()
        self._passes_on = False
        self.keys: dict[str, str] = {}
        self._universe: dict[str, str] = {}
        self._by_hand: dict[str, str | None] = {}  # key -> mode; None: not wanted
        self._plan: ConnectionPlan | None = None
        # Stream name -> version of its names, and keys and trading symbols by instrument id.
        self._names: dict[str, tuple[tuple[int, Naming, int], Names]] = {}
        self._looked_up: dict[str, str] = {}  # spelling -> key, of names looked up in the database
        # The names they were made from, spelling -> key, and key -> symbol.
        self._symbols: tuple[list[Names], dict[str, str], dict[str, str]] = [], {}, {}
        for handler in handlers:
            self.add_handler(handler)

    def follow(self, universe: Mapping[str, str]) -> None:
        """Replace the universe of the settings; keys subscribed or unsubscribed by hand stay so.

        Raises
        ------
        SubscriptionError
            If the keys do not fit into the connections; nothing has changed then.
        """
        self._apply(universe, self._by_hand)

    def subscribe(self, keys: Iterable[str], mode: str) -> None:
        """Add keys, or change their mode. Raises as `follow` does."""
        self._apply(self._universe, self._by_hand | dict.fromkeys(keys, mode))

    def unsubscribe(self, keys: Iterable[str]) -> None:
        """Remove keys. Raises as `follow` does."""
        self._apply(self._universe, self._by_hand | dict.fromkeys(keys))

    async def keys_of(self, names: Iterable[str]) -> list[str]:
        """Return the instrument keys that names mean today, each once; keys are returned unchanged.

        Raises
        ------
        UnknownNameError
            If a name means no instrument (the text has near matches) or several.
        StoreError
            If a name must be looked up and the database is away.
        """
        given = list(dict.fromkeys(name.strip() for name in names))
        on = market_day(self.watchdog.time_source.now())
        asked = [name for name in given if not is_key(name)]
        keys: dict[str, str] = {}
        for first in range(0, len(asked), NAMES_AT_ONCE):
            part = asked[first : first + NAMES_AT_ONCE]
            found, wrong = await self.questions.ask(partial(look_up, names=part, on=on))
            if wrong:
                raise UnknownNameError(next(iter(wrong.values())))
            keys |= {name: instrument.instrument_key for name, instrument in found.items()}
        self._looked_up |= {spelling(name): key for name, key in keys.items()}
        return list(dict.fromkeys(keys.get(name, name) for name in given))

    async def keys_to_read(self, names: Iterable[str]) -> list[str]:
        """Return the instrument keys of names, of which those that are recorded need no database; see `keys_of`."""
        given = list(dict.fromkeys(name.strip() for name in names))
        known = {name: key for name in given if (key := self.key_of(name)) is not None}
        found = {name: (await self.keys_of([name]))[0] for name in given if name not in known}
        return list(dict.fromkeys((known | found)[name] for name in given))

    def key_of(self, name: str) -> str | None:
        """Return the key of a name without asking the database; None: the name is not known.

        A name is a key, a name of the universe, a name looked up before, or the trading symbol of an instrument that
        has ticked.
        """
        if is_key(name):
            return name
        spelled = spelling(name)
        return self._universe_key(name) or self._looked_up.get(spelled) or self._key_of_symbol(spelled)

    def ask_names_again(self) -> None:
        """Ask the database again what each key means; call it after an instrument master was loaded."""
        for stream in self.streams:
            stream.consumer.state.naming.ask_again()

    def symbols(self) -> Mapping[str, str]:
        """Return the trading symbol of each key that has ticked and has one; of keys with the same, NSE's has it."""
        self._key_of_symbol("")  # brings the symbols up to date
        return self._symbols[2]

    def retry(self, only: Container[str] | None = None) -> list[str]:
        """Subscribe again, at once, to each key that the feed has not answered, or to some of them; return these."""
        failed: dict[str, None] = {}
        for stream in self.streams:
            for feed in stream.feeds:
                keys = [
                    key
                    for key in feed.states.in_state(KeyState.FAILED)
                    if key in feed.keys and (only is None or key in only)
                ]
                feed.ask_again(keys)
                failed |= dict.fromkeys(keys)
        return list(failed)

    @property
    def left_out(self) -> int:
        """Number of keys of the settings' universe that were unsubscribed by hand."""
        return len(self._universe.keys() - self.keys.keys())

    def change_mode(self, keys: Iterable[str], mode: str) -> None:
        """Change the mode of keys. Raises as `follow` does, and if a key is not subscribed."""
        keys = list(keys)
        if unknown := [key for key in keys if key not in self.keys]:
            named = ", ".join(map(repr, unknown[:NAMED_MAX])) + (" …" if len(unknown) > NAMED_MAX else "")
            raise SubscriptionError(f"{len(unknown):,} keys are not subscribed: {named}: subscribe first")
        self.subscribe(keys, mode)

    def add_handler(self, handler: Handler) -> None:
        """Add a handler, which gets each tick from now on."""
        self.handlers.append(handler)
        self._listen()

    def remove_handler(self, handler: Handler) -> None:
        """Remove a handler; it still gets the ticks in its queue."""
        self.handlers.remove(handler)
        self._listen()
        handler.close()

    def pass_on(self, *, wanted: bool) -> None:
        """Pass each new row to the broadcast from now on, or no longer."""
        self._passes_on = wanted and self.broadcast is not None
        self._listen()

    def names_of(self, stream: Stream) -> Names:
        """Return the names of a stream's instruments; the same object until a name changes."""
        return self._names_of(stream)

    def market_time(self) -> datetime | None:
        """Return the time of the feed; None: it has not said it yet."""
        return self.watchdog.market_time()

    def close(self) -> None:
        """End the handlers, and what others have the journal from."""
        for part in (self.publisher, self.journal_server):
            if part is not None:
                part.close()
        for handler in self.handlers:
            handler.close()

    def stream_of(self, key: str) -> Stream | None:
        """Return the stream that carries a key."""
        return next((stream for stream in self.streams if key in stream.feed.keys), None)

    def _listen(self) -> None:
        """Hear of new rows while there are handlers or a broadcast; only handlers want them at once."""
        hears = bool(self.handlers) or self._passes_on
        for stream in self.streams:
            stream.consumer.listener = partial(self._hand_over, stream) if hears else None
            stream.consumer.is_urgent = bool(self.handlers)

    def _hand_over(self, stream: Stream, rows: Floats) -> None:
        names = self._names_of(stream)
        if self.handlers:
            copied = rows.copy()  # the buffer is reused
            for handler in self.handlers:
                handler.offer(copied, names.keys, names.symbols)
        if self._passes_on and self.broadcast is not None:
            try:
                self.broadcast.take(stream, rows, names)
            except Exception:  # a fault of the broadcast must not end the recording
                log.exception("broadcast failed, its clients are cut off")
                self.broadcast.fail()
                self.pass_on(wanted=False)

    def _names_of(self, stream: Stream) -> Names:
        states, naming = stream.consumer.state.normaliser.states, stream.consumer.state.naming
        said_by = states.version, naming, naming.answers
        known = self._names.get(stream.name)
        if known is None or known[0] != said_by:
            keys = dict(zip(states.last_trades["instrument_id"].tolist(), states.keys, strict=True))
            known = self._names[stream.name] = said_by, Names(keys, dict(naming.met))
        return known[1]

    def _key_of_symbol(self, spelled: str) -> str | None:
        """Return the key of a trading symbol among instruments that have ticked; NSE wins over other exchanges."""
        names = [self._names_of(stream) for stream in self.streams]
        of, keys, _ = self._symbols
        if len(of) != len(names) or any(one is not other for one, other in zip(of, names, strict=True)):
            known = [
                (key, symbol) for one in names for id_, key in one.keys.items() if (symbol := one.symbols.get(id_))
            ]
            known.sort(key=lambda known_as: known_as[0].startswith("NSE_"))
            keys = {spelling(symbol): key for key, symbol in known}
            self._symbols = names, keys, {key: symbol for key, symbol in known if keys[spelling(symbol)] == key}
        return keys.get(spelled)

    def _apply(self, universe: Mapping[str, str], by_hand: Mapping[str, str | None]) -> None:
        wanted = {**universe, **by_hand}
        keys = {key: mode for key, mode in wanted.items() if mode is not None}
        found = plan(keys, self.account, self._plan)
        self._universe, self._by_hand, self._plan = dict(universe), dict(by_hand), found
        if keys == self.keys:
            return
        added, removed = len(keys.keys() - self.keys.keys()), len(self.keys.keys() - keys.keys())
        log.info(
            "keys changed keys=%d added=%d removed=%d connections=%d", len(keys), added, removed, len(found.connections)
        )
        self.keys = keys
        for number, stream in enumerate(self.streams):
            part = found.connections[number] if number < len(found.connections) else {}
            if part != stream.feed.keys:
                stream.change(part)
