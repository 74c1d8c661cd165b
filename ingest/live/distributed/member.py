"""Member: a collector among which the universe is spread, as this process knows it by asking.

Owns the file `collectors.json` of a writer's home, with what collectors said last: of one that is lost while no writer
runs, it is all that is known.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from ingest.errors import JournalError
from ingest.files import PRIVATE, replace_file
from ingest.transport.assignment import KeyTaker, Unheard
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.universe.collector_plan import Keys, account_of, as_values
from ingest.universe.connection_plan import AccountLimits

log = logging.getLogger(__name__)

FILE = "collectors.json"
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
        except SegmentGoneError:
            self.refuses = "it runs `tickline start`, or an older version"
            self._answered()
        except (UnreachableError, JournalError) as exc:
            self.error = str(exc)
        except (KeyError, TypeError, ValueError) as exc:
            self.error = f"collector {self.source.name!r} says no account: {exc}"
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


class Memory:
    """What members said last, on disk.

    Parameters
    ----------
    path
        The file.
    members
        Those that are known from it take what it says.
    """

    def __init__(self, path: Path, members: Sequence[Member]) -> None:
        self._path, self._members = path, members
        self._stored: tuple[tuple[str, str], ...] = ()
        self._said = ""
        try:
            found = json.loads(path.read_bytes()) if path.exists() else {}
            for member in members:
                if (known := found.get(member.source.name)) is not None:
                    name, account, keys = str(known["collector"]), account_of(known["account"]), dict(known["keys"])
                    member.name, member.account, member.keys = name, account, keys
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as exc:
            log.warning("what collectors said last cannot be read path=%s error=%s", path, exc)

    async def store(self) -> None:
        """Store what has changed, unless a member is between two sets of keys."""
        members = [member for member in self._members if member.name and not member.refuses]
        state = tuple((member.name, member.digest) for member in members)
        if state == self._stored or any(member.heard_s and not member.digest for member in members):
            return
        said = {
            member.source.name: {
                "collector": member.name,
                "account": as_values(member.account),
                "keys": dict(member.keys),
            }
            for member in members
        }
        try:
            await asyncio.to_thread(_write, self._path, said)
        except OSError as exc:  # it is tried again; without it a gap may go unnamed after a restart
            if str(exc) != self._said:
                log.warning("what collectors say cannot be stored path=%s error=%s", self._path, exc)
            self._said = str(exc)
            return
        self._stored, self._said = state, ""


def _write(path: Path, said: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(said, separators=(",", ":")).encode(), mode=PRIVATE)
