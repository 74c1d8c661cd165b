"""Life cycle of a connection: one table of states and events, and the waiting times. Pure.

                 GRANTED            OPENED             HEARD           QUIET
    AUTHORISING ─────────► CONNECTING ───► SUBSCRIBING ─────► LIVE ◄──────────► SILENT
      ▲   │                  │                │ LOST           │ LOST   HEARD      │ LOST
      │   │ 401              │ 401            ▼                ▼                   ▼
      │   ├──────────────────┴─► WAITING      └──────► BACKING_OFF ◄───────────────┘
      │   │                      FOR_TOKEN               ▲   │  │ CLOSED
      │   │ LOST, 403, 429           │                   │   │  └────────► MARKET_CLOSED
      │   └──────────────────────────┼───────────────────┘   │                  │
      └───────── NEW_TOKEN ──────────┴──────── DUE ──────────┴────── DUE ───────┘

The driver (`connection`) does the action in the table and returns with the event that resulted.
Nothing here ever gives up: a feed that is refused for hours is tried once every `max_s`.

Causes: UPSTOX V3, sections 1 (one-time URIs), 4 (close codes, token), 8 (what users report).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from ingest.backoff import backoff_s

GOOD_S = 60.0  # a connection that was live for this long was good: its loss counts as the first failure
AT_ONCE_S = 0.25  # the first try after a good connection; the jitter spreads many clients


class State(Enum):
    """State of a connection."""

    AUTHORISING = "authorising"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"  # open; no data yet
    LIVE = "live"
    SILENT = "silent"  # open, but silent for longer than usual while the market is open
    BACKING_OFF = "backing off"
    WAITING_FOR_TOKEN = "waiting for a token"  # noqa: S105  a state, no token
    MARKET_CLOSED = "market closed"  # not connected, because nothing would come


class Event(Enum):
    """What can happen to a connection."""

    GRANTED = "a feed URI was granted"
    OPENED = "the socket is open"
    HEARD = "data came"
    QUIET = "nothing came for longer than usual"
    LOST = "the connection failed or broke"
    UNAUTHORISED = "401"
    FORBIDDEN = "403"
    BUSY = "429"
    JOURNAL_FULL = "the journal takes nothing"
    CLOSED = "the market is closed"
    DUE = "the wait is over"
    NEW_TOKEN = "a token that was not refused yet"  # noqa: S105


class Action(Enum):
    """What the driver must do next."""

    AUTHORISE = "ask for a feed URI"
    CONNECT = "open the socket"
    RECEIVE = "subscribe and take frames"
    GO_ON = "go on with it"
    WAIT = "wait before the next try"
    AWAIT_TOKEN = "wait for a token"  # noqa: S105
    AWAIT_MARKET = "wait for the market"
    AWAIT_JOURNAL = "wait for the journal"


_S, _E, _A = State, Event, Action
_RETRY = (_S.BACKING_OFF, _A.WAIT)
TRANSITIONS: dict[tuple[State, Event], tuple[State, Action]] = {
    (_S.AUTHORISING, _E.GRANTED): (_S.CONNECTING, _A.CONNECT),
    (_S.CONNECTING, _E.OPENED): (_S.SUBSCRIBING, _A.RECEIVE),
    (_S.SUBSCRIBING, _E.HEARD): (_S.LIVE, _A.GO_ON),
    (_S.LIVE, _E.QUIET): (_S.SILENT, _A.GO_ON),
    (_S.SILENT, _E.HEARD): (_S.LIVE, _A.GO_ON),
    **{
        (state, event): _RETRY
        for state in (_S.AUTHORISING, _S.CONNECTING)
        for event in (_E.LOST, _E.FORBIDDEN, _E.BUSY)
    },
    **{(state, _E.UNAUTHORISED): (_S.WAITING_FOR_TOKEN, _A.AWAIT_TOKEN) for state in (_S.AUTHORISING, _S.CONNECTING)},
    **{(state, _E.LOST): _RETRY for state in (_S.SUBSCRIBING, _S.LIVE, _S.SILENT)},
    **{(state, _E.JOURNAL_FULL): (_S.BACKING_OFF, _A.AWAIT_JOURNAL) for state in (_S.SUBSCRIBING, _S.LIVE, _S.SILENT)},
    (_S.BACKING_OFF, _E.CLOSED): (_S.MARKET_CLOSED, _A.AWAIT_MARKET),
    (_S.BACKING_OFF, _E.DUE): (_S.AUTHORISING, _A.AUTHORISE),
    (_S.MARKET_CLOSED, _E.DUE): (_S.AUTHORISING, _A.AUTHORISE),
    (_S.WAITING_FOR_TOKEN, _E.NEW_TOKEN): (_S.AUTHORISING, _A.AUTHORISE),
}
OPEN = frozenset({_S.SUBSCRIBING, _S.LIVE, _S.SILENT})  # the socket is open


@dataclass(slots=True)
class Lifecycle:
    """The life cycle of one connection. Times are seconds of any monotonic clock.

    Attributes
    ----------
    failures
        Tries in a row that failed, or led to a connection that was not good.
    forbidden
        403 answers in a row.
    """

    state: State = State.AUTHORISING
    since_s: float = 0.0  # when it entered this state
    failures: int = 0
    forbidden: int = 0
    _live_s: float | None = None  # when this connection brought its first data
    _was_good: bool = False  # the failure before was the loss of a good connection
    _last: Event = Event.DUE

    def happen(self, event: Event, now_s: float) -> Action:
        """Take an event; return the next action.

        Raises
        ------
        KeyError
            If this event is impossible in this state: a bug.
        """
        state, action = TRANSITIONS[self.state, event]
        if action is Action.WAIT:
            self._was_good = self._live_s is not None and now_s - self._live_s >= GOOD_S
            self.failures = 1 if self._was_good else self.failures + 1
        if event is Event.HEARD and self._live_s is None:
            self._live_s = now_s
        elif state not in OPEN:
            self._live_s = None
        if event is Event.FORBIDDEN:
            self.forbidden += 1
        elif event is Event.OPENED:
            self.forbidden = 0
        self.state, self.since_s, self._last = state, now_s, event
        return action

    def wait_s(self, rng: random.Random, *, first_s: float, max_s: float) -> float:
        """Return how long to wait before the next try.

        Parameters
        ----------
        rng
            Source of the jitter.
        first_s, max_s
            Wait after the first failure, doubled each time, and the longest wait. A good connection that
            is lost is made again at once. After a request to slow down (429), or a second refusal with
            a fresh URI (403), the longest wait applies from the start.
        """
        if self._last is Event.BUSY or (self._last is Event.FORBIDDEN and self.forbidden > 1):
            return backoff_s(1, rng, first_s=max_s, max_s=max_s)
        if self._was_good:
            return rng.random() * min(AT_ONCE_S, first_s)
        return backoff_s(max(self.failures, 1), rng, first_s=first_s, max_s=max_s)


def meaning_of_403(forbidden: int, *, at_handshake: bool, uses_d30: bool) -> str:
    """Return the most likely cause of a 403, and what to do; the vendor does not say.

    Parameters
    ----------
    forbidden
        How many in a row, including this one.
    at_handshake
        True: the WebSocket was refused; False: the authorise request was.
    uses_d30
        Whether any key is subscribed in mode full_d30.
    """
    if not at_handshake:
        return "the account or its API app may not use the feed: check the app, the plan and the IP address"
    if forbidden == 1:
        return "its URI was used or has expired, or the connection before is not yet gone: trying with a new one"
    if forbidden <= 3:  # the vendor notices a dead connection within about two minutes
        return "too many connections are open for this account: stop other programs, or set TICKLINE_CONNECTIONS_MAX"
    if uses_d30:
        return "the account lacks the entitlement for mode full_d30: use mode full"
    return "too many connections, or the token lacks the entitlement for the feed: log in again, or ask the vendor"
