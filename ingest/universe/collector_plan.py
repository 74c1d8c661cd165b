"""Distribute one universe over several collectors, each with an account of its own. Pure.

Each key has an order of preference among the collectors, by a hash of both names (weighted rendezvous hashing): it goes
to the first that has room. So the plan needs no memory, everybody who makes it makes the same, and few keys move: those
of a collector that is lost go to the others, and back to it when it returns. Keys are given places in the order of the
universe, so the last ones are left out when there is no room for all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from ingest.universe.connection_plan import AccountLimits, has_room

Keys = dict[str, str]  # instrument key -> mode
NAMED_MAX = 10  # keys in one text
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class CollectorPlan:
    """The keys of each collector, and those for which no account has room; all in the order of the universe."""

    keys: dict[str, Keys] = field(default_factory=dict)
    left_out: Keys = field(default_factory=dict)

    @property
    def left_out_text(self) -> str:
        """Which keys no account has room for; "": none."""
        if not self.left_out:
            return ""
        named = ", ".join(list(self.left_out)[:NAMED_MAX]) + (" …" if len(self.left_out) > NAMED_MAX else "")
        return f"no account has room for {len(self.left_out):,} keys, which are left out: {named}"


def spread(
    wanted: Mapping[str, str], accounts: Mapping[str, AccountLimits], only: Mapping[str, Set[str]] | None = None
) -> CollectorPlan:
    """Distribute keys over collectors.

    Parameters
    ----------
    wanted
        Instrument key -> mode, the most important first.
    accounts
        Name of each collector that can be used -> limits of its account.
    only
        Name of a collector -> the only keys that it may get; None: any.

    Returns
    -------
    CollectorPlan
        Each key at one collector, within the limits of its account, or left out.

    Examples
    --------
    >>> made = spread({"NSE_EQ|A": "full", "NSE_EQ|B": "full_d30"}, {"mumbai": AccountLimits()})
    >>> made.keys, made.left_out
    ({'mumbai': {'NSE_EQ|A': 'full'}}, {'NSE_EQ|B': 'full_d30'})
    """
    places = [_Place(name, account, (only or {}).get(name)) for name, account in sorted(accounts.items())]
    left_out: Keys = {}
    for key, mode in wanted.items():
        for place in sorted(places, key=lambda place: place.distance(key)):
            if place.take(key, mode):
                break
        else:
            left_out[key] = mode
    return CollectorPlan({place.name: place.keys for place in places}, left_out)


def step(
    plan: CollectorPlan,
    held: Mapping[str, Mapping[str, str]],
    hearing: Set[str],
    accounts: Mapping[str, AccountLimits],
) -> dict[str, Keys]:
    """Return what each collector gets now, on the way to a plan.

    A key is taken only when no other has it, so that nothing is recorded twice; and it is let go only for a collector
    that hears, so that none is lost to one that cannot. A collector without keys shows that it hears by one key that
    another still has.

    Parameters
    ----------
    plan
        The way's end.
    held
        What each collector of the plan records now.
    hearing
        Those to which data comes.
    accounts
        Limits of their accounts.
    """
    home = {key: name for name, keys in plan.keys.items() for key in keys}
    holders = Counter(key for keys in held.values() for key in keys)
    found: dict[str, Keys] = {}
    for name, keys in plan.keys.items():
        has = held.get(name, {})
        given = {key: mode for key, mode in keys.items() if key in has or not holders[key]}
        if not given and not has:
            given = dict(list(keys.items())[:1])
        counts = Counter(given.values())
        for key, mode in has.items():
            if key in given or home.get(key, name) in hearing | {name}:
                continue
            counts[mode] += 1
            if has_room(counts, accounts[name]):
                given[key] = mode
            else:
                counts[mode] -= 1
        found[name] = given
    return found


class _Place:
    """A collector while keys are given to it."""

    def __init__(self, name: str, account: AccountLimits, only: Set[str] | None) -> None:
        self.name = name
        self.keys: Keys = {}
        self._account, self._only = account, only
        self._counts: Counter[str] = Counter()
        self._full: set[str] = set()  # modes of which it takes no key more: what was added never makes room
        self._hash = blake2b(f"{name}\0".encode(), digest_size=_HASH_BYTES)

    def distance(self, key: str) -> float:
        """Return how far a key is from this collector: the nearest is preferred; twice the room, twice the keys."""
        hashed = self._hash.copy()
        hashed.update(key.encode())
        share = (int.from_bytes(hashed.digest(), "big") + 1) / (2 ** (8 * _HASH_BYTES) + 1)  # above 0, below 1
        return -math.log(share) / max(self._account.connections_max, 1)

    def take(self, key: str, mode: str) -> bool:
        """Take a key if there is room for it; return whether there was."""
        if mode in self._full or (self._only is not None and key not in self._only):
            return False
        self._counts[mode] += 1
        if not has_room(self._counts, self._account):
            self._counts[mode] -= 1
            self._full.add(mode)
            return False
        self.keys[key] = mode
        return True


def as_values(account: AccountLimits) -> dict[str, Any]:
    """Return an account as plain values, for another machine."""
    return {"connections": account.connections_max, "plus": account.plus, "standby": account.standby}


def account_of(values: Any) -> AccountLimits:
    """Return an account out of plain values. Raises KeyError, TypeError or ValueError."""
    connections = int(values["connections"])
    if not 0 <= connections <= 5:
        raise ValueError(f"{connections} connections are no account's")
    return AccountLimits(connections, bool(values["plus"]), bool(values["standby"]))
