"""Member: a collector among which the universe is spread, as this process knows it by asking."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from ingest.errors import JournalError
from ingest.transport.http_collector import HttpCollector
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.universe.collector_plan import Keys, account_of
from ingest.universe.connection_plan import AccountLimits


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
    heard_s
        When it answered last, by the monotonic clock.
    lost
        Why its keys are given to others; "": it lives.
    denied, denied_s
        Why it has refused its keys, and when.
    """

    source: HttpCollector
    name: str = ""
    account: AccountLimits = field(default_factory=AccountLimits)
    keys: Keys = field(default_factory=dict)
    digest: str = ""
    refuses: str = ""
    error: str = "it has not answered yet"
    hears: bool = False
    unheard_s: float = 0.0
    heard_s: float = 0.0
    lost: str = ""
    denied: str = ""
    denied_s: float = 0.0

    async def ask(self) -> None:
        """Ask the collector; an error leaves what is known."""
        try:
            said = await self.source.standing(self.digest)
            account = account_of(said.account)
        except SegmentGoneError:
            self.refuses = "it runs `tickline start`, or an older version"
            self.error, self.heard_s = "", monotonic()
        except (UnreachableError, JournalError) as exc:
            self.error = str(exc)
        except (KeyError, TypeError, ValueError) as exc:
            self.error = f"collector {self.source.name!r} says no account: {exc}"
        else:
            if said.keys is not None:
                self.keys, self.digest = said.keys, said.digest
            self.name, self.account, self.refuses = said.collector, account, said.refuses
            self.hears, self.unheard_s = said.hears, said.unheard_s
            self.error, self.heard_s = "", monotonic()

    async def watch(self, every_s: float) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(every_s)
