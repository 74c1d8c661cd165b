"""State of each requested key of a connection: does the feed send it? Pure.

The feed acknowledges nothing and ignores invalid requests, so only the first update of a key
confirms it.

    REQUESTED ──update──► CONFIRMED ──far past usual──► SILENT ──update──► CONFIRMED
        └──no update in confirm_s──► FAILED ──update──► CONFIRMED

A failed key is requested again, and stays failed until it is answered. When a connection ends, no key
is confirmed any more.

Time does not count while a segment is closed, while nobody checks (a night without checks, a machine
that slept) and, after a reconnect, until the key is requested again: two thousand keys in batches of
fifty take most of a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from enum import Enum

USUAL_SHARE = 0.1  # weight of the newest interval in a key's usual interval: about the last 20 updates count


class KeyState(Enum):
    """State of a requested key."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    SILENT = "silent"
    FAILED = "failed"


class KeyEvent(Enum):
    """What can happen to a key."""

    REQUEST = "request"  # requested: first, again, or after a reconnect
    UPDATE = "update"  # the feed sent an update of it
    OVERDUE = "overdue"  # no update for longer than allowed


_S, _E = KeyState, KeyEvent
TRANSITIONS: dict[tuple[KeyState, KeyEvent], KeyState] = {
    **{(state, _E.REQUEST): _S.REQUESTED for state in _S},
    (_S.FAILED, _E.REQUEST): _S.FAILED,
    **{(state, _E.UPDATE): _S.CONFIRMED for state in _S},
    (_S.REQUESTED, _E.OVERDUE): _S.FAILED,
    (_S.CONFIRMED, _E.OVERDUE): _S.SILENT,
}


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits after which a key is overdue, seconds."""

    confirm_s: float = 10.0  # a snapshot comes within a second or two of the request
    silent_s: float = 120.0  # no key is called silent sooner than this
    usual_factor: float = 20.0  # times its usual interval between updates
    retry_s: float = 60.0  # after a failure; doubles each time
    retries_max: int = 5  # then it is left alone until the next reconnect
    unwatched_s: float = 60.0  # between two checks; after a longer pause, silence is counted from zero


@dataclass(slots=True)
class _Key:
    state: KeyState
    since_s: float  # of the request or the last update; moved on while time does not count
    usual_s: float = 0.0  # usual interval between updates; 0: not yet known
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Overdue:
    """Result of a check; each key is listed once, when its state changes."""

    failed: list[str] = field(default_factory=list)  # requested, never updated
    silent: list[str] = field(default_factory=list)  # updated before, but not for too long
    retry: list[str] = field(default_factory=list)  # failed some time ago: request again


@dataclass(slots=True)
class KeyStates:
    """The keys of one connection. Times are seconds of any monotonic clock."""

    patience: Patience = field(default_factory=Patience)
    _keys: dict[str, _Key] = field(default_factory=dict)
    _checked_s: float = math.inf  # time of the last check

    def requested(self, keys: Iterable[str], now_s: float) -> None:
        """Note that keys were requested."""
        for key in keys:
            known = self._keys.get(key)
            if known is None:
                self._keys[key] = _Key(KeyState.REQUESTED, now_s)
            else:
                known.failures += known.state is KeyState.FAILED
                known.state, known.since_s = TRANSITIONS[known.state, KeyEvent.REQUEST], now_s

    def disconnected(self) -> None:
        """Note that the connection ended: each key must be requested again and gets all its retries back.

        Usual intervals are kept. The time of a key starts when `requested` is called for it.
        """
        for known in self._keys.values():
            known.state, known.failures, known.since_s = TRANSITIONS[known.state, KeyEvent.REQUEST], 0, math.inf

    def kept(self, keys: Container[str]) -> None:
        """Forget all other keys."""
        self.removed([key for key in self._keys if key not in keys])

    def removed(self, keys: Iterable[str]) -> None:
        """Note that keys were unsubscribed."""
        for key in keys:
            self._keys.pop(key, None)

    def updated(self, keys: Iterable[str], now_s: float) -> list[str]:
        """Note updates of keys; return those not confirmed before. Keys that were not requested are ignored."""
        fresh: list[str] = []
        for key in keys:
            if (known := self._keys.get(key)) is None:
                continue
            if known.state is KeyState.CONFIRMED:
                interval_s = now_s - known.since_s
                known.usual_s += (interval_s - known.usual_s) * (USUAL_SHARE if known.usual_s else 1.0)
            else:
                known.state, known.failures = TRANSITIONS[known.state, KeyEvent.UPDATE], 0
                fresh.append(key)
            known.since_s = now_s
        return fresh

    def check(self, now_s: float, is_open: Callable[[str], bool]) -> Overdue:
        """Return the keys that are overdue, and the failed ones to request again.

        Parameters
        ----------
        now_s
            The time.
        is_open
            Whether a key's segment trades now; while it does not, no key is overdue.
        """
        found = Overdue()
        unwatched = now_s - self._checked_s > self.patience.unwatched_s
        self._checked_s = now_s
        for key, known in self._keys.items():
            if unwatched or not is_open(key):
                known.since_s = max(known.since_s, now_s)
                continue
            waited_s = now_s - known.since_s
            if known.state is KeyState.FAILED:
                if known.failures <= self.patience.retries_max and waited_s >= self._retry_s(known):
                    found.retry.append(key)
            elif (known.state, KeyEvent.OVERDUE) in TRANSITIONS and waited_s > self._allowed_s(known):
                (found.failed if known.state is KeyState.REQUESTED else found.silent).append(key)
                if known.state is KeyState.REQUESTED:
                    known.failures += 1
                    known.since_s = now_s
                known.state = TRANSITIONS[known.state, KeyEvent.OVERDUE]
        return found

    def counts(self) -> dict[KeyState, int]:
        """Return how many keys are in each state."""
        states = [known.state for known in self._keys.values()]
        return {state: states.count(state) for state in KeyState}  # quicker than hashing each

    def of(self, key: str) -> KeyState | None:
        """Return the state of a key; None: it was not requested."""
        known = self._keys.get(key)
        return None if known is None else known.state

    def in_state(self, state: KeyState) -> list[str]:
        """Return the keys in a state, in the order they were first asked for."""
        return [key for key, known in self._keys.items() if known.state is state]

    def _allowed_s(self, known: _Key) -> float:
        if known.state is KeyState.REQUESTED:
            return self.patience.confirm_s
        return max(self.patience.silent_s, known.usual_s * self.patience.usual_factor)

    def _retry_s(self, known: _Key) -> float:
        return self.patience.retry_s * 2.0 ** (known.failures - 1)
