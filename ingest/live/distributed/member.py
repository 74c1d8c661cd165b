"""Member: a collector among which the universe is spread, as this process knows it by asking.

Owns the relation `tickline.collectors`, with the keys that each would be missed for: of one that is lost while no
writer runs, it is all that is known, whichever home the next writer has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from psycopg.types.json import Jsonb

from ingest.database.pool import Pool
from ingest.errors import JournalError
from ingest.model.keys import shown
from ingest.settings import COLLECTOR
from ingest.transport.assignment import KeyTaker, Unheard
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.universe.collector_plan import Keys, account_of, as_values
from ingest.universe.connection_plan import AccountLimits

UNTOLD = "TICKLINE_COLLECTOR_TOKEN is not set here: set it to what its journal-token holds"


@dataclass(slots=True)
class Member:
    """A collector as this process knows it.

    Attributes
    ----------
    name
        Of the collector; "": not known yet.
    keys
        What it records, as far as is known.
    refuses
        Why it takes no keys; "": it takes them.
    error
        Why it does not answer; "": it does.
    unanswered, market_ms
        Keys that its feed has not answered, and the feed's time at that, epoch ms; 0: not known.
    unheard
        Those of its connections that bring nothing, while others do.
    awaits
        Whether no writer has spoken to it since its start.
    given_up
        Keys of those of them that have done so for too long: others get these.
    heard_s, silent_since_s
        When it answered last, and since when it has been asked without an answer, by the monotonic clock; None: it
        answers.
    lost
        Why its keys are given to others; "": it lives.
    denied, denied_s
        Why it has refused its keys, and when.
    """

    source: KeyTaker
    name: str = ""
    account: AccountLimits = field(default_factory=AccountLimits)
    keys: Keys = field(default_factory=dict)
    digest: str = ""
    refuses: str = ""
    error: str = "it has not answered yet"
    hears: bool = False
    unheard_s: float = 0.0
    unanswered: tuple[str, ...] = ()
    market_ms: int = 0
    unheard: tuple[Unheard, ...] = ()
    awaits: bool = False
    given_up: tuple[tuple[str, ...], ...] = ()
    heard_s: float = 0.0
    silent_since_s: float | None = None
    lost: str = ""
    denied: str = ""
    denied_s: float = 0.0

    async def ask(self) -> None:
        """Ask the collector; an error leaves what is known."""
        if self.silent_since_s is None:
            self.silent_since_s = monotonic()
        try:
            said = await self.source.standing(self.digest)
            account = account_of(said.account)
            if not re.fullmatch(COLLECTOR, said.collector):
                raise ValueError(f"its name is {shown(said.collector)!r}")
        except SegmentGoneError:
            self.refuses = "it runs `tickline start`, or an older version"
            self._answered()
        except (UnreachableError, JournalError) as exc:
            self.error = str(exc)
        except (KeyError, TypeError, ValueError) as exc:
            self.error = f"collector {self.source.name!r} says no name or account: {exc}"
        else:
            if said.keys is not None:
                self.keys, self.digest = said.keys, said.digest
            self.name, self.account = said.collector, account
            self.refuses = said.refuses or ("" if self.source.tells else UNTOLD)
            self.hears, self.unheard_s = said.hears, said.unheard_s
            self.unanswered, self.market_ms, self.unheard = said.unanswered, said.market_ms, said.unheard
            self.awaits = said.awaits
            self._answered()

    @property
    def received(self) -> Keys:
        """Those of its keys whose connections are not given up."""
        without = {key for keys in self.given_up for key in keys}
        return {key: mode for key, mode in self.keys.items() if key not in without} if without else self.keys

    def silent_s(self) -> float:
        """Return for how long it has been asked without an answer, seconds."""
        return 0.0 if self.silent_since_s is None else monotonic() - self.silent_since_s

    def was_not_asked(self) -> None:
        """Forget a silence in which this process did nothing itself."""
        if self.silent_since_s is not None:
            self.silent_since_s = monotonic()

    def _answered(self) -> None:
        self.error, self.heard_s, self.silent_since_s = "", monotonic(), None

    async def watch(self, every_s: float) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(every_s)


@dataclass(frozen=True, slots=True)
class Noted:
    """A row of `tickline.collectors`: where a collector was reached, its account, and the keys missed if it is lost."""

    source: str
    account: dict[str, Any]
    keys: Keys


class Memory:
    """Which keys are missed if a collector is lost, in the database.

    Only the holder of the lease uses it: it reads once, and then writes what has changed. A collector whose loss has
    been named is noted without keys, so that nobody names it twice.

    Parameters
    ----------
    pool
        Connections.
    members
        Those that do not answer take what was noted of them.
    """

    def __init__(self, pool: Pool, members: Sequence[Member]) -> None:
        self._pool, self._members = pool, members
        self._noted: dict[str, Noted] = {}  # by name

    async def recall(self) -> None:
        """Read what earlier holders have noted. Raises StoreError."""
        rows = await self._pool.rows("assign/collectors", {})
        self._noted = {name: Noted(source, account, keys) for name, source, account, keys in rows}
        names = {noted.source: name for name, noted in self._noted.items()}  # of several, the newest
        for member in self._members:
            if member.error and (name := names.get(member.source.name)) is not None:
                noted = self._noted[name]
                member.name, member.account = name, account_of(noted.account)
                member.keys, member.digest = dict(noted.keys), ""

    def keys_of(self, name: str) -> Keys | None:
        """Return the keys that are missed if the collector is lost; None: nothing is noted of it."""
        return self._noted[name].keys if name in self._noted else None

    def absent(self) -> dict[str, Keys]:
        """Return those that none of the members is, and their keys."""
        names = {member.name for member in self._members}
        return {name: noted.keys for name, noted in self._noted.items() if name not in names}

    async def note(self) -> None:
        """Note what has changed. Raises StoreError."""
        seen: set[str] = set()
        for member in sorted(self._members, key=lambda one: bool(one.error)):  # one that answers, if two have a name
            if not member.name or member.refuses or member.name in seen:
                continue
            seen.add(member.name)
            keys = {} if member.lost else dict(member.received)
            now = Noted(member.source.name, as_values(member.account), keys)
            if now != self._noted.get(member.name):
                given = {"collector": member.name, "source": now.source}
                given_as_json = {"account": Jsonb(now.account), "keys": Jsonb(now.keys)}
                await self._pool.rows("assign/note_collector", given | given_as_json)
                self._noted[member.name] = now

    async def forget(self, name: str) -> None:
        """Remove a collector. Raises StoreError."""
        await self._pool.rows("assign/forget_collector", {"collector": name})
        self._noted.pop(name, None)
