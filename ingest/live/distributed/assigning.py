"""Assigning: give the keys of one universe to the collectors that live, and those of a lost one to the others.

Every writer asks each collector once a second what it records and hears, so that whoever gets the lease for what is
done once knows it. The holder makes the plan and hands it out. Nothing is stored for it: the plan follows from the
universe and from who lives, and each collector keeps its own keys. The holder only notes in the database which keys
each collector has, so that whoever follows it can name the gap of one that is lost meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from ingest.database.pool import Pool
from ingest.errors import JournalError, TicklineError
from ingest.last_error import LastError
from ingest.live.distributed.lost_keys import close_gaps, database_of, has_open_gaps, open_gaps
from ingest.live.distributed.member import Member, Memory
from ingest.market.time import utc_of_ms
from ingest.settings import Settings
from ingest.transport.assignment import KeyTaker
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.universe.collector_plan import CollectorPlan, Keys, spread, step
from ingest.universe.key_file import keys_of_file
from ingest.universe.selection import Universe

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two questions to a collector, and two rounds
STEPS_MAX = 3  # of one round: who must lets go, then who may takes
BEAT_S, HELD_UP_S = 0.2, 2.0  # a beat that comes later than this says that this process or its machine was held up
GIVE_S = 3.0  # a collector that hangs must not hold up the others
DENIED_S = 60.0  # how long a collector that has refused its keys is left alone
CLOSE_S, CLOSE_S_MAX = 2.0, 60.0  # between two looks whether instruments of a lost collector are received again


class Assigning:
    """The plan of one universe, while this process holds the lease; see `Once`.

    Parameters
    ----------
    settings
        The file of the universe, if any, and how long a collector may be silent.
    pool
        Connections to the database.
    sources
        The collectors.
    universe
        Returns what the rules and names of the settings want.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        sources: Sequence[KeyTaker],
        universe: Callable[[], Awaitable[Universe]],
    ) -> None:
        self.members = [Member(source) for source in sources]
        self._memory = Memory(pool, self.members)
        self.plan = CollectorPlan()
        self._settings, self._pool, self._universe = settings, pool, universe
        self._wanted: Keys = {}
        self._wanted_s = -1e9
        self._made_of: tuple[Any, ...] | None = None  # what the plan follows from
        self._database = ""
        self._beat_s = monotonic()
        self._close_s, self._closes_in_s = 0.0, CLOSE_S
        self._said: dict[str, str] = {}  # what was logged of whom

    async def watch(self) -> None:
        """Ask each collector once a second, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat())
                for member in self.members:
                    group.create_task(member.watch(LOOK_S))
        finally:
            for member in self.members:
                await member.source.close()

    async def _beat(self) -> None:
        """Find out whether this process was held up: it has asked nobody meanwhile."""
        while True:
            if self._was_held_up():
                for member in self.members:
                    member.was_not_asked()
            self._beat_s = monotonic()
            await asyncio.sleep(BEAT_S)

    def _was_held_up(self) -> bool:
        return monotonic() - self._beat_s > HELD_UP_S

    async def run(self, error: LastError) -> None:
        """Make and hand out the plan, until cancelled; call it while the lease is held."""
        began_s = monotonic()
        self._close_s, self._closes_in_s = 0.0, CLOSE_S
        for member in self.members:  # who was lost for an earlier holder is judged again
            member.lost = ""
        is_recalled = False
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if not is_recalled:
                    await self._memory.recall()
                    is_recalled = True
                await self._round(began_s)
            except TicklineError as exc:
                if str(exc) != error.text:
                    log.warning("keys stay where they are error=%s", exc)
                error.happened(exc)
            else:
                error.over()

    async def _round(self, began_s: float) -> None:
        await self._look_at_universe()
        if not self._wanted:
            return
        if not self._database:
            self._database = await database_of(self._pool)
        is_early = monotonic() - began_s < self._settings.collector_lost_s
        if is_early and not all(member.heard_s for member in self.members):
            return  # its keys may be well where they are
        heard = {member.name for member in self.members if member.heard_s}
        for member in self.members:
            if not member.heard_s and member.name in heard:  # known from the database: it has another address now
                member.name, member.keys = "", {}
        if is_early and await self._elsewhere(name for name, keys in self._memory.absent().items() if keys):
            return
        for member in self.members:
            await self._judge(member)
            await self._judge_connections(member)
        await self._judge_absent()
        living = self._living()
        await self._hand_out(living)
        await self._let_try(living)
        await self._close_gaps(living)
        await self._memory.note()

    def _living(self) -> dict[str, Member]:
        """Return the collectors that take keys, by name."""
        found: dict[str, Member] = {}
        for member in self.members:
            if member.refuses:
                self._say(member, f"collector takes no keys source={member.source.name}: {member.refuses}")
            elif member.name in found:
                self._say(member, f"collector {member.name!r} is there twice: set TICKLINE_COLLECTOR of one")
            elif member.denied and monotonic() - member.denied_s < DENIED_S:
                self._say(member, f"keys are not taken collector={member.name}: {member.denied}")
            elif member.name and not member.lost:
                found[member.name] = member
        return found

    async def _look_at_universe(self) -> None:
        """Bring the wanted keys up to date now and then; what cannot be read leaves them as they are."""
        if monotonic() - self._wanted_s < self._settings.universe_follow_s:
            return
        try:
            self._wanted = await self._read_universe()
        except TicklineError as exc:
            if not self._wanted:
                raise
            log.warning("universe stays as it is error=%s", exc)
        self._wanted_s = monotonic()

    async def _read_universe(self) -> Keys:
        settings, wanted = self._settings, Keys()
        if settings.universe or settings.underlyings:
            wanted |= (await self._universe()).by_importance()
        if settings.universe_file is not None:
            wanted |= await asyncio.to_thread(keys_of_file, settings.universe_file, settings.mode)
        return wanted

    async def _judge(self, member: Member) -> None:
        """Find out whether a collector is lost, or is back."""
        if not member.name or member.refuses or self._was_held_up():
            return
        limit_s = self._settings.collector_lost_s
        lost = ""
        if (silent_s := member.silent_s()) >= limit_s:
            # It may come through a broker, or to another writer.
            if not await self._elsewhere([member.name]):
                lost = f"it has not answered for {silent_s:.0f} s: {member.error}"
        elif member.keys and not member.hears and (member.lost or member.unheard_s >= limit_s):
            lost = f"its feed has not been heard for {member.unheard_s:.0f} s"
        if bool(lost) == bool(member.lost):
            member.lost = lost
            return
        if lost:
            log.error(
                "collector is lost, others take its %d keys collector=%s: %s", len(member.keys), member.name, lost
            )
            until = utc_of_ms(member.market_ms) if member.market_ms else None
            await self._miss(member.name, member.keys, member, heard_until=until)
        else:
            log.warning("collector is back and gets its keys again collector=%s", member.name)
        member.lost = lost

    async def _judge_connections(self, member: Member) -> None:
        """Give up those connections of a collector that have brought nothing for too long, while others do."""
        limit_s = self._settings.collector_lost_s
        is_judged = member.name and not (member.lost or member.refuses)
        gone = [one for one in member.unheard if is_judged and one.seconds >= limit_s]
        before = {key for keys in member.given_up for key in keys}
        for one in gone:
            if not (fresh := set(one.keys) - before):
                continue
            log.error(
                "connection of a collector is lost, others take its %d keys collector=%s seconds=%.0f",
                len(fresh),
                member.name,
                one.seconds,
            )
            at = utc_of_ms(one.market_ms) if one.market_ms else None
            await self._miss(member.name, fresh, member, began_at=at)
        member.given_up = tuple(one.keys for one in gone)

    async def _judge_absent(self) -> None:
        """Name the gaps of collectors that only the database knows: they have another address, or none."""
        absent = self._memory.absent()
        for name in absent.keys() - await self._elsewhere(absent):
            if keys := absent[name]:
                log.error(
                    "collector is lost, and is no source here: others take its %d keys collector=%s", len(keys), name
                )
                await self._miss(name, keys)
            await self._memory.forget(name)

    async def _elsewhere(self, names: Iterable[str]) -> set[str]:
        """Return those of which something was committed lately: what cannot be asked may still record."""
        if not (asked := list(names)):
            return set()
        given = {"collectors": asked, "within_s": self._settings.collector_lost_s}
        return {name for name, _ in await self._pool.rows("assign/newest_commits", given)}

    async def _miss(
        self,
        name: str,
        keys: Iterable[str],
        member: Member | None = None,
        *,
        heard_until: datetime | None = None,
        began_at: datetime | None = None,
    ) -> None:
        """Name the gap of a lost collector's keys that are still wanted and that no other collector has.

        After that it is noted without them, so a collector that stays lost has one gap, whoever looks again.
        """
        had = self._memory.keys_of(name)
        mine = set(keys) if had is None else set(keys) & had.keys()
        others = {key for one in self.members if one is not member and not one.lost for key in one.received}
        if alone := sorted((mine & self._wanted.keys()) - others):
            await open_gaps(self._pool, name, alone, heard_until, datetime.now(UTC), began_at=began_at)
            self._closes_in_s = CLOSE_S

    async def _hand_out(self, living: Mapping[str, Member]) -> None:
        accounts = {name: member.account for name, member in living.items()}
        if not accounts:
            return
        # Where a new key would go within the collector is not known here: perhaps to the lost connection.
        only = {name: frozenset(member.received) for name, member in living.items() if member.given_up}
        of = list(self._wanted.items()), accounts, only
        if self._made_of != of:
            made = await asyncio.to_thread(spread, self._wanted, accounts, only)
            if made != self.plan:
                counts = " ".join(f"{name}={len(keys)}" for name, keys in made.keys.items())
                log.info("keys are spread over collectors %s left_out=%d", counts, len(made.left_out))
            before, self.plan, self._made_of = self.plan.left_out, made, of
            if made.left_out and made.left_out != before:
                log.error("%s", made.left_out_text)
        for _ in range(STEPS_MAX):
            held = {name: member.received for name, member in living.items()}
            # One for which no key is left learns that there is a writer.
            untold = any(member.awaits and not member.keys for member in living.values())
            if held == self.plan.keys and not only and not untold:
                return
            # What a late commit makes seem alive does not answer: nobody lets keys go for it.
            hearing = {name for name, member in living.items() if member.hears and not member.error}
            given = step(self.plan, held, hearing, accounts)
            told = [
                await self._give(living[name], keys | _tried(living[name], held, keys)) for name, keys in given.items()
            ]
            if not any(told):
                return

    async def _let_try(self, living: Mapping[str, Member]) -> None:
        """Let a collector that answers and hears nothing go on trying with one key, and those that nobody else has."""
        held = {key for member in living.values() for key in member.keys}
        for member in self.members:
            if member.lost and living and not member.refuses and len(member.keys) > 1:
                alone = {key: mode for key, mode in member.keys.items() if key not in held}
                await self._give(member, alone or dict(list(member.keys.items())[:1]))

    async def _give(self, member: Member, keys: Keys) -> bool:
        """Give a collector its keys, or later if it does not answer now; return whether it has taken them."""
        if member.error or (keys == member.keys and (keys or not member.awaits)):
            return False
        try:
            async with asyncio.timeout(GIVE_S):
                await member.source.assign(keys, self._database)
        except (UnreachableError, SegmentGoneError, TimeoutError) as exc:
            member.error = str(exc) or f"it has not taken its keys within {GIVE_S:g} s"
            self._say(member, f"keys are not taken, trying again collector={member.name}: {member.error}")
            return False
        except JournalError as exc:  # it says no: another database, or more than its account carries
            member.denied, member.denied_s = str(exc), monotonic()
            return False
        member.denied, member.awaits = "", False
        added, removed = len(keys.keys() - member.keys.keys()), len(member.keys.keys() - keys.keys())
        log.info("keys given collector=%s keys=%d added=%d removed=%d", member.name, len(keys), added, removed)
        member.hears = member.hears and bool(member.keys)
        member.keys, member.digest = dict(keys), ""  # it is asked again what it has
        return True

    async def _close_gaps(self, living: Mapping[str, Member]) -> None:
        """End the gaps of instruments that a living collector has received."""
        if monotonic() - self._close_s < self._closes_in_s:
            return
        ended = 0
        for member in living.values() if await has_open_gaps(self._pool) else ():
            # Of an answer that came after the keys were given: then `digest` is that of what it has.
            if member.hears and member.market_ms and member.digest:
                keys = list(member.received.keys() - set(member.unanswered))
                ended += await close_gaps(self._pool, keys, utc_of_ms(member.market_ms), datetime.now(UTC))
        self._close_s = monotonic()
        self._closes_in_s = CLOSE_S if ended else min(2 * self._closes_in_s, CLOSE_S_MAX)

    def _say(self, member: Member, text: str) -> None:
        if self._said.get(member.source.name) != text:
            log.warning("%s", text)
        self._said[member.source.name] = text

    def problems(self) -> list[str]:
        """Return what keeps keys from being recorded: one line each."""
        found = [f"collector {member.name} is lost: {member.lost}" for member in self.members if member.lost]
        found += [
            f"collector {member.name} hears nothing on {len(member.given_up)} of its connections: others get its keys"
            for member in self.members
            if member.given_up
        ]
        return [*found, *([text] if (text := self.plan.left_out_text) else [])]

    def warnings(self) -> list[str]:
        """Return which collectors take no keys, and why."""
        return [
            f"collector {member.name or member.source.name} takes no keys: {member.refuses}"
            for member in self.members
            if member.refuses
        ] + [f"collector {member.name} refuses its keys: {member.denied}" for member in self.members if member.denied]

    def account(self) -> dict[str, Any]:
        """Return the plan in numbers, for the status."""
        return {
            "keys": len(self._wanted),
            "left_out": len(self.plan.left_out),
            "lost": ", ".join(member.name for member in self.members if member.lost) or None,
            "given": ", ".join(f"{member.name}: {len(member.keys)}" for member in self.members if member.name) or None,
        }


def _tried(member: Member, held: Mapping[str, Keys], given: Keys) -> Keys:
    """Return keys with which a collector tries its lost connections: those that nobody has, otherwise one of each."""
    has = {key for keys in held.values() for key in keys}
    found: Keys = {}
    for keys in member.given_up:
        mine = [key for key in keys if key in member.keys and key not in given]
        found |= {key: member.keys[key] for key in [one for one in mine if one not in has] or mine[:1]}
    return found
