"""Distribute keys and their modes over the connections that an account may have. Pure.

Upstox silently ignores keys beyond a limit, so a plan that does not fit fails here and prints the limits.
Limits: UPSTOX V3, section 2 (vendor's documentation of September 2026).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Literal, NamedTuple

from ingest.errors import SubscriptionError

Mode = Literal["ltpc", "option_greeks", "full", "full_d30"]
Wanted = Mapping[str, str]  # instrument key -> mode


class Limit(NamedTuple):
    """Keys of one mode on one connection: when alone, and together with other modes."""

    alone: int
    combined: int


LIMITS: dict[str, Limit] = {
    "ltpc": Limit(5000, 2000),
    "option_greeks": Limit(3000, 2000),
    "full": Limit(2000, 1500),
    "full_d30": Limit(50, 50),  # combined 1,500 in the documentation, but 50 in total according to vendor staff
}
CONNECTIONS_OF_A_PAIR = 2
D30_KEYS_MAX = 50  # per account, on all its connections together


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """Limits of an account."""

    connections_max: int = 2  # connections with keys of their own
    plus: bool = False
    standby: bool = False  # each of them has a second one with the same keys

    @classmethod
    def of(cls, *, plus: bool, connections_max: int | None = None, standby: bool = False) -> AccountLimits:
        """Return a normal or a Plus account; a lower `connections_max` leaves connections for other programs.

        Raises
        ------
        SubscriptionError
            If a standby is wanted but no connection is left for it.
        """
        allowed = 5 if plus else 2
        usable = min(allowed, connections_max or allowed)
        if standby and usable < CONNECTIONS_OF_A_PAIR:
            raise SubscriptionError(
                f"TICKLINE_STANDBY needs {CONNECTIONS_OF_A_PAIR} connections, TICKLINE_CONNECTIONS_MAX allows "
                f"{usable}: allow more, or set TICKLINE_STANDBY=false"
            )
        return cls(usable // CONNECTIONS_OF_A_PAIR if standby else usable, plus, standby)

    def __str__(self) -> str:
        pairs = " and as many that stand by" if self.standby else ""
        return f"{'a Plus' if self.plus else 'a normal'} account with {self.connections_max} connection(s){pairs}"


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """The keys and modes of each connection."""

    connections: tuple[dict[str, str], ...] = ()  # for each connection: instrument key -> mode

    def counts(self) -> list[dict[str, int]]:
        """Return the keys per mode of each connection."""
        return [dict(Counter(keys.values())) for keys in self.connections]

    def subscribe_s(self, batch_keys: int, interval_ms: int) -> float:
        """Return the seconds between the first and the last request of the busiest connection."""
        requests = (sum(ceil(n / batch_keys) for n in counts.values()) for counts in self.counts())
        return max(max(requests, default=0) - 1, 0) * interval_ms / 1000


def fits(counts: Mapping[str, int]) -> bool:
    """Whether keys per mode are within the limits of one connection."""
    used = {mode: n for mode, n in counts.items() if n}
    return all(n <= (LIMITS[mode].alone if len(used) == 1 else LIMITS[mode].combined) for mode, n in used.items())


def has_room(counts: Mapping[str, int], account: AccountLimits) -> bool:
    """Whether keys per mode are within the limits of an account."""
    d30 = counts.get("full_d30", 0)
    if d30 and (not account.plus or d30 > D30_KEYS_MAX):
        return False
    return _shape({mode: n for mode, n in counts.items() if n}, account.connections_max) is not None


def plan(wanted: Wanted, account: AccountLimits, before: ConnectionPlan | None = None) -> ConnectionPlan:
    """Distribute keys over as few connections as possible.

    Parameters
    ----------
    wanted
        Instrument key -> mode.
    account
        How many connections there may be.
    before
        The current plan: keys stay on their connection and new keys take free places; if that does
        not work out, everything is planned again.

    Raises
    ------
    SubscriptionError
        If the keys do not fit: the limits, and what could be left out.
    """
    by_mode: dict[str, list[str]] = {}
    for key, mode in wanted.items():
        by_mode.setdefault(mode, []).append(key)
    _check_d30(len(by_mode.get("full_d30", ())), account)
    if before is not None and (kept := _keep(before, wanted, account)):
        return kept
    for number in range(account.connections_max + 1):
        if (shape := _shape({mode: len(keys) for mode, keys in by_mode.items()}, number)) is not None:
            return _fill(by_mode, shape, number)
    raise SubscriptionError(_refusal({mode: len(keys) for mode, keys in by_mode.items()}, account))


def _shape(counts: Mapping[str, int], number: int) -> dict[str, int] | None:
    """Return how many of `number` connections each mode has for itself; the rest are mixed. None: it does not fit."""
    for dedicated in product(range(number, -1, -1), repeat=len(counts)):  # unmixed ones first: they hold more
        mixed = number - sum(dedicated)
        if mixed < 0:
            continue
        if all(
            n <= own * LIMITS[mode].alone + mixed * LIMITS[mode].combined
            for (mode, n), own in zip(counts.items(), dedicated, strict=True)
        ):
            return dict(zip(counts, dedicated, strict=True))
    return None


def _fill(by_mode: Mapping[str, list[str]], shape: Mapping[str, int], number: int) -> ConnectionPlan:
    """Distribute the keys: first to a mode's own connections, the rest evenly over the mixed ones."""
    connections: list[dict[str, str]] = []
    rest: list[tuple[str, str]] = []
    for mode, keys in by_mode.items():
        size = LIMITS[mode].alone
        for position in range(shape[mode]):
            connections.append(dict.fromkeys(keys[position * size : (position + 1) * size], mode))
        rest += [(key, mode) for key in keys[shape[mode] * size :]]
    mixed = number - len(connections)
    # Keys of a mode are contiguous in `rest`, so each connection gets an even share of each mode.
    connections += [dict(rest[position::mixed]) for position in range(mixed)]
    return ConnectionPlan(tuple(keys for keys in connections if keys))


def _keep(before: ConnectionPlan, wanted: Wanted, account: AccountLimits) -> ConnectionPlan | None:
    """Return the current plan without the keys no longer wanted and with the new ones, if that fits."""
    connections = [{key: wanted[key] for key in keys if key in wanted} for keys in before.connections]
    counts = [Counter(keys.values()) for keys in connections]
    placed = {key for keys in connections for key in keys}
    if len(connections) > account.connections_max or not all(map(fits, counts)):
        return None
    for key, mode in wanted.items():
        if key in placed:
            continue
        for keys, count in zip(connections, counts, strict=True):
            if fits({**count, mode: count[mode] + 1}):
                keys[key] = mode
                count[mode] += 1
                break
        else:
            if len(connections) == account.connections_max:
                return None
            connections.append({key: mode})
            counts.append(Counter({mode: 1}))
    return ConnectionPlan(tuple(connections))


def _check_d30(number: int, account: AccountLimits) -> None:
    if number and not account.plus:
        raise SubscriptionError(
            f"mode 'full_d30' for {number:,} keys needs a Plus account: use mode full, or set TICKLINE_PLUS=true"
        )
    if number > D30_KEYS_MAX:
        raise SubscriptionError(
            f"{number:,} keys in mode 'full_d30' do not fit: {D30_KEYS_MAX} in all are allowed: "
            f"leave out {number - D30_KEYS_MAX:,}"
        )


def _refusal(counts: Mapping[str, int], account: AccountLimits) -> str:
    asked = " + ".join(f"{n:,} {mode}" for mode, n in counts.items())
    if len(counts) == 1:
        [(mode, n)] = counts.items()
        room = account.connections_max * LIMITS[mode].alone
        over = f"room for {room:,}, {n - room:,} too many"
    else:
        over = "at most " + ", ".join(
            f"{LIMITS[mode].alone:,} {mode} alone or {LIMITS[mode].combined:,} beside others" for mode in counts
        )
        over += " on a connection"
    remedy = "fewer strikes, expiries or underlyings, or a lighter mode"
    if not account.plus:
        remedy += ", or TICKLINE_PLUS=true"
    if account.standby:
        remedy += ", or TICKLINE_STANDBY=false"
    return f"{asked} keys do not fit into {account}: {over}: choose {remedy}"
