"""Keep the wanted universe up to date, with its instrument master, calendar and prices.

The wanted keys follow from them and from the last ticks in the database, so
option windows move, and contracts roll at the close of their last day. The price of an underlying that
has never ticked is fetched by REST, so that its options are subscribed before its first tick.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg

from ingest.database.connections import connect, translated
from ingest.database.pool import Pool
from ingest.database.queries import query
from ingest.database.resolve import look_up, spelling
from ingest.errors import ConfigError, FeedError, TicklineError
from ingest.last_error import LastErrors
from ingest.market.calendar import Calendar
from ingest.model.keys import is_key
from ingest.settings import Settings
from ingest.universe.daily_lists import DailyLists
from ingest.universe.instrument_master import loaded_at
from ingest.universe.resolved_names import UNDERLYINGS, UNIVERSE, Resolved, remember
from ingest.universe.selection import Chain, Contract, Rules, Universe, Window, chains_of, chosen, unknown, wanted
from ingest.upstox.rest import QUOTES_KEYS_MAX, UpstoxApi, chunks

log = logging.getLogger(__name__)

DERIVATIVES = {"NSE": "NSE_FO", "BSE": "BSE_FO"}  # per exchange; both close their contracts at the same hour
REMEMBER_AFTER = timedelta(minutes=1)  # for a start without the database, a window one minute old is good enough
RETRY_AFTER = timedelta(minutes=10)  # after asking for prices
NOTHING_REMEDY = (
    "name instruments, as in `tickline start INFY 'NIFTY FUT'`, or set TICKLINE_UNIVERSE or TICKLINE_UNDERLYINGS"
)


def rules_of(settings: Settings) -> Rules:
    """Return the universe rules from the settings."""
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


class UniverseKeeper:
    """The keys that the settings want, at any time.

    Parameters
    ----------
    settings
        The rules and names, the vendor's address, and the folder of the calendar.
    url
        The database with the instruments and the last ticks.
    may_be_empty
        Whether settings that name nothing are no mistake: names are looked up later, so a list is needed.
    stores_names
        Whether the meaning of the names is stored for a start without the database.
    """

    def __init__(self, settings: Settings, url: str, *, may_be_empty: bool = False, stores_names: bool = True) -> None:
        self.settings = settings
        self._stores_names = stores_names
        self._may_be_empty = may_be_empty
        self.url = url
        self.errors = LastErrors()
        self._lists = DailyLists(settings, self.errors)
        self._rules = rules_of(settings)
        self._centres: Mapping[Window, float] = {}
        # Contracts of one day in one master; reading them takes a good part of a second.
        self._read_of: tuple[date, datetime | None] | None = None
        self._chains: list[Chain] = []
        self._named: dict[str, str] = {}
        self._keys: dict[str, str] = {}  # keys of each name
        self._spelled: dict[str, str] = {}  # the same, by spelling
        self._remembered: tuple[tuple[Mapping[str, str], date], datetime] | None = None  # on disk, and since when
        self._wrong: dict[str, str] = {}  # unknown names -> reason
        self._prices: dict[str, float] = {}  # REST prices of underlyings that have never ticked
        self._priced_at: datetime | None = None

    @property
    def calendar(self) -> Calendar:
        """The newest market calendar."""
        return self._lists.calendar

    @property
    def listed_at(self) -> datetime | None:
        """When the list seen by the last `look` was loaded, from any source; None: never."""
        return self._read_of[1] if self._read_of else None

    def key_of(self, name: str) -> str | None:
        """Return the key that a name of the settings means since the last `look`, however it is spelled."""
        return self._spelled.get(spelling(name))

    async def wanted(self, now: datetime, api: UpstoxApi | None = None, pool: Pool | None = None) -> Universe:
        """Return the wanted universe, using today's master and calendar and all prices that are available.

        Raises like `look`.

        Parameters
        ----------
        now
            Time of the universe.
        api
            The session whose token is used, which may be newer than that of the settings; None: a new session.
        pool
            Connections of a program that asks often; None: a connection for this call.
        """
        async with self._connections(pool) as connections:
            await self.refresh(now, connections)
            look = partial(self._look, now=now)
            found = await connections.on_thread(look)
            if found.waiting and await self._ask_prices(found.waiting, now, api):
                found = await connections.on_thread(look)
            return found

    async def refresh(self, now: datetime, pool: Pool | None = None) -> None:
        """Fetch today's master and calendar where missing; report the age of those that cannot be fetched."""
        names = self.settings.universe
        is_needed = self._may_be_empty or bool(self.settings.underlyings) or not all(is_key(n.strip()) for n in names)
        async with self._connections(pool) as connections:
            await self._lists.refresh(connections, now, is_needed=is_needed, has_begun=self._read_of is not None)

    def _connections(self, pool: Pool | None) -> AbstractAsyncContextManager[Pool]:
        return nullcontext(pool) if pool is not None else Pool(self.url)

    def look(self, now: datetime) -> Universe:
        """Return the wanted universe at a time.

        Raises
        ------
        ConfigError
            If the settings name nothing, or only unknown names. Unknown names among known ones are reported and
            left out. A key need not be known. A name to exclude must be known, or have been known once.
        StoreError
            If the database refuses or is away.
        """
        with translated(), connect(self.url, autocommit=True) as connection:
            return self._look(connection, now)

    def _look(self, connection: psycopg.Connection[Any], now: datetime) -> Universe:
        if not self._may_be_empty and not self.settings.universe and not self.settings.underlyings:
            raise ConfigError(f"nothing to record: {NOTHING_REMEDY}")
        on = self.calendar.contract_day(now)
        self._read(connection, on)
        keys = [chain.underlying_key for chain in chosen(self._rules, self._chains)]
        ticked = dict(connection.execute(query("universe/last_prices"), {"instrument_keys": keys}).fetchall())
        spots = self._prices | ticked
        found = wanted(self._rules, self._chains, spots=spots, on=on, centres=self._centres, named=self._named)
        self._centres = found.centres
        if not found.keys and self._wrong:
            raise ConfigError(next(iter(self._wrong.values())))
        if self._stores_names:
            self._remember(found, spots, on, now)
        return found

    def _remember(self, found: Universe, spots: Mapping[str, float], on: date, now: datetime) -> None:
        """Store what each name means, for a start without the database; moving windows only now and then."""
        if self._remembered is not None:
            what, at = self._remembered
            if what == (found.keys, on) or abs(now - at) < REMEMBER_AFTER:
                return
        underlyings = {
            name: wanted(
                replace(self._rules, underlyings=(name,)), self._chains, spots=spots, on=on, centres=found.centres
            )
            for name in self.settings.underlyings
        }
        remember(
            self.settings,
            {
                UNIVERSE: {name: Resolved(on, {key: self._named[key]}) for name, key in self._keys.items()},
                UNDERLYINGS: {name: Resolved(on, one.keys) for name, one in underlyings.items() if one.keys},
            },
        )
        self._remembered = (found.keys, on), now

    def supposed(self, found: Universe, now: datetime) -> Universe:
        """Return a universe, for planning, that includes as many options as will follow once their price is known.

        They are taken from the middle of their strikes.
        """
        spots = {}
        for chain in found.waiting:
            strikes = [strike for ladder in chain.options.values() for strike in ladder]
            spots[chain.underlying_key] = sorted(strikes)[len(strikes) // 2]
        on = self.calendar.contract_day(now)
        return wanted(self._rules, self._chains, spots=spots, on=on, centres=self._centres, named=self._named)

    def _read(self, connection: psycopg.Connection[Any], on: date) -> None:
        """Read contracts and names again if there is a new day or master."""
        read_of = (on, loaded_at(connection))
        if read_of == self._read_of:
            return
        self._named, self._keys, self._wrong, self._spelled = {}, {}, {}, {}
        found, wrong = look_up(connection, self.settings.universe, on=on)
        for name in self.settings.universe:
            if name in found:
                self._keys[name] = self._spelled[spelling(name)] = found[name].instrument_key
                self._named[found[name].instrument_key] = self.settings.mode
            elif is_key(name.strip()):  # only the vendor knows whether it exists
                self._named[name.strip()] = self.settings.mode
                log.warning("no instrument master has key %r: it is subscribed, and named when one has it", name)
            else:
                self._wrong[name] = wrong[name]
                log.warning("name skipped: %s", wrong[name])
        if self.settings.underlyings:
            segments = [DERIVATIVES[exchange] for exchange in self.settings.exchanges]
            rows = connection.execute(query("universe/living_contracts"), {"on": on, "segments": segments}).fetchall()
            self._chains = chains_of(Contract(*row) for row in rows)
            self._check_underlyings(connection, segments)
        self._read_of = read_of

    def _check_underlyings(self, connection: psycopg.Connection[Any], segments: Sequence[str]) -> None:
        """Report unknown underlyings; raise if an excluded one was never known."""
        wrong = unknown(self.settings.underlyings, "TICKLINE_UNDERLYINGS", self._chains)
        for text in wrong.values():
            log.warning("underlying skipped: %s", text)
        self._wrong |= wrong
        strange = unknown(self.settings.underlyings_exclude, "TICKLINE_UNDERLYINGS_EXCLUDE", self._chains)
        if not strange or not self._chains:  # without a list nobody can tell
            return
        given = {"names": [name.upper() for name in strange], "segments": segments}
        once = {name for (name,) in connection.execute(query("universe/once_underlyings"), given)}
        for name, text in strange.items():
            if name.upper() not in once:
                raise ConfigError(text)
            log.info(
                "underlying %r of TICKLINE_UNDERLYINGS_EXCLUDE has no futures any more: nothing to leave out", name
            )

    async def _ask_prices(self, chains: Sequence[Chain], now: datetime, api: UpstoxApi | None) -> bool:
        """Fetch the prices of underlyings that have never ticked; return whether there are any.

        Without a token or an answer, their options follow with the first tick.
        """
        if self.settings.upstox_access_token is None:
            return False
        if self._priced_at is not None and now - self._priced_at < RETRY_AFTER:
            return False
        self._priced_at = now
        keys = [chain.underlying_key for chain in chains]
        try:
            async with nullcontext(api) if api else UpstoxApi(self.settings) as session:
                for part in chunks(keys, QUOTES_KEYS_MAX):
                    self._prices |= await session.last_prices(part)
            self.errors.of("prices").over()
        except FeedError as exc:
            self.errors.of("prices").happened(exc)
            log.warning("prices not fetched, options follow with first ticks underlyings=%d error=%s", len(keys), exc)
        return bool(self._prices)


async def follow(
    keeper: UniverseKeeper,
    change: Callable[[dict[str, str]], None],
    api: UpstoxApi,
    *,
    every_s: float,
    pool: Pool | None = None,
    is_away: Callable[[], bool] = lambda: False,
    listed: Callable[[], None] = lambda: None,
) -> None:
    """Keep the subscriptions equal to the wanted keys until cancelled; a failure leaves them as they are.

    Parameters
    ----------
    keeper
        Provides the wanted universe.
    change
        Called with keys -> modes when they have changed; may raise `TicklineError`.
    api
        The session whose token and time source are used.
    every_s
        Seconds between two checks.
    pool
        Connections to look with; None: one for each check.
    is_away
        Whether the database is away; then nothing is checked.
    listed
        Called when an instrument master was loaded, by any process.
    """
    present: dict[str, str] | None = None
    said, listed_at = "", keeper.listed_at
    while True:
        await api.time_source.sleep(every_s)
        if is_away():
            continue
        try:
            keys = (await keeper.wanted(api.time_source.now(), api, pool)).keys
            if keeper.listed_at != listed_at:
                listed_at = keeper.listed_at
                listed()
            if keys != present:
                change(keys)
                present, said = keys, ""
            keeper.errors.of("universe").over()
        except TicklineError as exc:
            keeper.errors.of("universe").happened(exc)
            if str(exc) != said:
                log.warning("universe stays as it is error=%s", exc)
            said = str(exc)
