"""Detect a dead or slow feed by comparing frames per second with the connection's own usual rate. Pure.

Judged only while a segment of the connection is open: a closed market is silent for a good reason,
and so are most shares in an auction. Silence is judged by the connection's current rate, so that a feed
that is thin today is not called silent because of yesterday. Slowness is judged by the rate of earlier
days at this minute (`usual_rate`), or by the last quarter of an hour if they are unknown.
Time in which nobody checked, for example while the machine slept, is not silence: frames may be waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ingest.feed.usual_rate import SLOW_SHARE, Usual

SILENCE_S = 15.0  # the recorded session pauses for up to 11 s about once in half an hour
SILENCE_PACES = 30.0  # times the mean interval between frames; both limits must have passed
UNKNOWN_S = 30.0
SAID_PACES = 12.0  # the same for health; frames at random times pause that long once in 160,000
USUAL_S = 900.0  # time constant of the usual rate
NOW_S = 60.0  # time constant of the current rate
KNOWN_S = 120.0  # before that, no rate is usual
UNWATCHED_S = 10.0  # longest time between two checks


class Verdict(Enum):
    """Result of checking a connection."""

    WELL = "well"
    SLOW = "slow"  # far fewer frames than usual
    QUIET = "quiet"  # none for longer than usual
    DEAD = "dead"  # none for twice as long: this socket will bring nothing more


@dataclass(slots=True)
class FrameRate:
    """Frame rate of one connection. Times are seconds of any monotonic clock."""

    usual: float = 0.0  # usual frames per second
    rate: float = 0.0  # current frames per second
    _frames: int = 0
    _known_s: float = 0.0  # how long the usual rate has been learnt
    _looked_s: float = math.inf
    _heard_s: float = math.inf

    def begin(self, frames: int, now_s: float) -> None:
        """Start again, with a new connection or a market that has opened."""
        self.usual = self.rate = self._known_s = 0.0
        self._frames, self._looked_s, self._heard_s = frames, now_s, now_s

    def is_silent(self, now_s: float, silent_s: float) -> bool:
        """Return whether no frame has come for `silent_s` seconds, and for 12 times the mean interval.

        While that is unknown, because nothing has come since the first second of a connection, only 30 s are silence.
        """
        allowed_s = max(silent_s, SAID_PACES / self.usual) if self.usual else max(silent_s, UNKNOWN_S)
        return now_s - self._heard_s > allowed_s

    def look(self, frames: int, now_s: float, usual: Usual | None = None) -> Verdict:
        """Judge by the frames so far and by what is usual now; call about once a second."""
        passed_s = max(now_s - self._looked_s, 1e-3)
        if passed_s > UNWATCHED_S:
            self._heard_s += passed_s
        fresh, self._frames, self._looked_s = frames - self._frames, frames, now_s
        if fresh:
            since_s, self._heard_s = max(now_s - self._heard_s, passed_s), now_s
            self._known_s += since_s
            self.usual += (fresh / since_s - self.usual) * min(since_s / min(USUAL_S, self._known_s), 1.0)
        else:
            allowed_s = max(SILENCE_S, SILENCE_PACES / self.usual if self.usual else math.inf)
            waited_s = now_s - self._heard_s
            if waited_s > allowed_s:  # silence does not count towards the usual rate
                return Verdict.DEAD if waited_s > 2 * allowed_s else Verdict.QUIET
        self.rate += (fresh / passed_s - self.rate) * min(passed_s / min(NOW_S, self._known_s + passed_s), 1.0)
        rate, slow_below = usual or Usual(self.usual, SLOW_SHARE * self.usual)
        slow = self._known_s > KNOWN_S and self.rate < slow_below and rate * NOW_S > SILENCE_PACES
        return Verdict.SLOW if slow else Verdict.WELL
