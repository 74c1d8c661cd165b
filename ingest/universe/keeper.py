"""Keep the wanted universe up to date, with its instrument master, calendar and prices.

Decides when to ask the vendor for a new master and calendar: each morning after they are published,
and again after a failure. The wanted keys follow from them and from the last ticks in the database, so
option windows move, and contracts roll at the close of their last day. The price of an underlying that
has never ticked is fetched by REST, so that its options are subscribed before its first tick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from ingest.database.connections import connect, translate
from ingest.database.queries import query
from ingest.database.resolve import look_up, spelling
from ingest.errors import ConfigError, FeedError, TicklineError
from ingest.last_error import LastErrors
from ingest.market.calendar import Calendar
from ingest.market.session_opens import opens_of
from ingest.market.shown_time import ist
from ingest.model.keys import is_key
from ingest.settings import Settings
from ingest.store.side_tables import note_opens
from ingest.universe.calendar_file import load_calendar, refresh_calendar
from ingest.universe.instrument_master import is_fresh, load_master, loaded_at, rebuilt_at
from ingest.universe.resolved_names import UNDERLYINGS, UNIVERSE, Resolved, remember
from ingest.universe.selection import Chain, Contract, Rules, Universe, Window, chains_of, chosen, unknown, wanted
from ingest.upstox.rest import MASTER_PATH, QUOTES_KEYS_MAX, UpstoxApi, chunks

log = logging.getLogger(__name__)

DERIVATIVES = {"NSE": "NSE_FO", "BSE": "BSE_FO"}  # per exchange; both close their contracts at the same hour
REMEMBER_AFTER = timedelta(minutes=1)  # for a start without the database, a window one minute old is good enough
RETRY_AFTER = timedelta(minutes=10)  # after failing to get a master or calendar
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


def master_age(connection: psycopg.Connection[Any], now: datetime) -> str:
    """Return the age of the instrument master as text."""
    loaded = loaded_at(connection)
    if loaded is None:
        return "there is none yet"
    return f"the last one is of {ist(loaded)}, {(now - loaded).total_seconds() / 3600:.1f} hours ago"


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
    """

    def __init__(self, settings: Settings, url: str, *, may_be_empty: bool = False) -> None:
        self.settings = settings
        self._may_be_empty = may_be_empty
        self.url = url
        self.errors = LastErrors()
        self.calendar = load_calendar(settings.home, settings.api_url)
        self._sources: dict[str, str] = {
            name: settings.assets_url + MASTER_PATH.format(exchange=name) for name in settings.exchanges
        }
        self._rules = rules_of(settings)
        self._centres: Mapping[Window, float] = {}
        self._told: Calendar | None = None  # the calendar whose opens the database knows
        self._tried_at: datetime | None = None
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
    def listed_at(self) -> datetime | None:
        """When the list seen by the last `look` was loaded, from any source; None: never."""
        return self._read_of[1] if self._read_of else None

    def key_of(self, name: str) -> str | None:
        """Return the key that a name of the settings means since the last `look`, however it is spelled."""
        return self._spelled.get(spelling(name))

    async def wanted(self, now: datetime, api: UpstoxApi | None = None) -> Universe:
        """Return the wanted universe, using today's master and calendar and all prices that are available.

        Raises like `look`. With an `api` its token is used: a session has a newer one than the settings.
        """
        await self.refresh(now)
        found = await asyncio.to_thread(self.look, now)
        if found.waiting and await self._ask_prices(found.waiting, now, api):
            found = await asyncio.to_thread(self.look, now)
        return found

    async def refresh(self, now: datetime) -> None:
        """Fetch today's master and calendar where missing; report the age of those that cannot be had."""
        if self._tried_at is not None and now - self._tried_at < RETRY_AFTER:
            return
        stale_masters, is_needed = await asyncio.to_thread(self._stale_masters, now)
        fetched_at = self.calendar.fetched_at
        stale_calendar = fetched_at is None or fetched_at < rebuilt_at(now)
        if stale_masters or stale_calendar:
            self._tried_at = now
            async with UpstoxApi(self.settings) as api:
                if stale_calendar:
                    await self._refresh_calendar(api, now)
                # If we can begin without a new list, a slow download waits until later, beside the feed.
                within_s = None if is_needed or self._read_of else self.settings.http_timeout_s
                for exchange in stale_masters:
                    await self._refresh_master(api, exchange, now, within_s)
        if self._told is not self.calendar:
            await asyncio.to_thread(self._note_opens)
            self._told = self.calendar

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
        if not self._may_be_empty and not self.settings.universe and not self.settings.underlyings:
            raise ConfigError(f"nothing to record: {NOTHING_REMEDY}")
        on = self.calendar.contract_day(now)
        try:
            with connect(self.url, autocommit=True) as connection:
                self._read(connection, on)
                keys = [chain.underlying_key for chain in chosen(self._rules, self._chains)]
                ticked = dict(connection.execute(query("universe/last_prices"), {"instrument_keys": keys}).fetchall())
        except psycopg.Error as exc:
            raise translate(exc) from exc
        spots = self._prices | ticked
        found = wanted(self._rules, self._chains, spots=spots, on=on, centres=self._centres, named=self._named)
        self._centres = found.centres
        if not found.keys and self._wrong:
            raise ConfigError(next(iter(self._wrong.values())))
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
                log.warning("no list of instruments has key %r: it is subscribed, and named when a list has it", name)
            else:
                self._wrong[name] = wrong[name]
                log.warning("name skipped: %s", wrong[name])
        if self.settings.underlyings:
            segments = [DERIVATIVES[exchange] for exchange in self._sources]
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

    def _stale_masters(self, now: datetime) -> tuple[list[str], bool]:
        """Return the exchanges whose master of today is missing, and whether we cannot begin without one."""
        names, underlyings = self.settings.universe, self.settings.underlyings
        try:
            with connect(self.url, autocommit=True) as connection:
                stale = [name for name, source in self._sources.items() if not is_fresh(connection, source, now)]
                is_needed = self._may_be_empty or bool(underlyings) or not all(is_key(name.strip()) for name in names)
                return stale, is_needed and loaded_at(connection) is None
        except psycopg.Error as exc:
            raise translate(exc) from exc

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
            log.warning("prices not had, options come with the first ticks underlyings=%d error=%s", len(keys), exc)
        return bool(self._prices)

    async def _refresh_calendar(self, api: UpstoxApi, now: datetime) -> None:
        try:
            self.calendar = await refresh_calendar(api, self.settings.home, self.settings.api_url, now)
            self.errors.of("market calendar").over()
        except FeedError as exc:
            self.errors.of("market calendar").happened(exc)
            of = self.calendar.fetched_at
            age = f"that of {ist(of)}" if of else "the built-in one"
            log.warning("market calendar not refreshed, %s is used error=%s", age, exc)

    def _note_opens(self) -> None:
        """Store in the database when the calendar's sessions open."""
        try:
            with connect(self.url) as connection:
                note_opens(connection, opens_of(self.calendar))
        except psycopg.Error as exc:
            raise translate(exc) from exc

    async def _refresh_master(self, api: UpstoxApi, exchange: str, now: datetime, within_s: float | None) -> None:
        source, last_error = self._sources[exchange], self.errors.of(f"instrument master {exchange}")

        def load(data: bytearray | None, error: FeedError | None) -> None:
            with connect(self.url, autocommit=True) as connection:
                if data is None:
                    last_error.happened(error)
                    log.warning("instrument master not refreshed, %s error=%s", master_age(connection, now), error)
                    return
                unpacked_bytes_max = self.settings.master_unpacked_bytes_max
                loaded = load_master(connection, data, source, now, unpacked_bytes_max=unpacked_bytes_max)
                last_error.over()
                log.info("instrument master loaded source=%s rows=%d", source, loaded.rows)
                if loaded.odd.count:
                    log.warning("instrument master has odd rows source=%s said=%s", source, loaded.odd)

        try:
            async with asyncio.timeout(within_s):
                data = await api.instrument_master(exchange)
        except TimeoutError:
            self._tried_at = None
            late = FeedError(f"not there after {within_s:g} s: a recording goes on to fetch it")
            await asyncio.to_thread(load, None, late)
        except FeedError as exc:
            await asyncio.to_thread(load, None, exc)
        else:
            try:
                await asyncio.to_thread(load, data, None)
            except FeedError as exc:  # received, but damaged
                await asyncio.to_thread(load, None, exc)


async def follow(
    keeper: UniverseKeeper,
    change: Callable[[dict[str, str]], None],
    api: UpstoxApi,
    *,
    every_s: float,
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
    is_away
        Whether the database is away; then nothing is checked.
    listed
        Called when a list of instruments was loaded, by any process.
    """
    present: dict[str, str] | None = None
    said, listed_at = "", keeper.listed_at
    while True:
        await api.time_source.sleep(every_s)
        if is_away():
            continue
        try:
            keys = (await keeper.wanted(api.time_source.now(), api)).keys
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
