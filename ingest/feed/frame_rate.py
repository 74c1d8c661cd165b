"""Liveness of a feed: frames a second against the connection's own habit. Pure.

Judged only while a segment of the connection is open: a closed market is silent for a good reason,
and so is an auction for most shares. What is silent is told by the connection's own pace, so that a
feed that is thin today is not called silent for what it was yesterday. What is slow is told by what
earlier days had at this minute (`habit`), and where they say nothing by the last quarter of an hour.
Time that nobody looked at, as while the machine slept, is not silence: its frames may be waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from ingest.feed.usual_rate import SLOW_SHARE, Usual

SILENCE_S = 15.0  # the recorded session pauses up to 11 s once in half an hour
SILENCE_PACES = 30.0  # times the mean distance of frames; both must have passed
HABIT_S = 900.0  # what is usual is the mean of about so long
NOW_S = 60.0  # and what is now, of so long
KNOWN_S = 120.0  # before that nothing is usual
UNWATCHED_S = 10.0  # between two looks


class Verdict(Enum):
    """What a look at a connection found."""

    WELL = "well"
    SLOW = "slow"  # far fewer frames than usual
    QUIET = "quiet"  # none for longer than usual
    DEAD = "dead"  # none for twice as long: this socket will bring nothing more


@dataclass(slots=True)
class FrameRate:
    """The frames of one connection. Times are seconds of any clock that only goes forward."""

    habit: float = 0.0  # usual frames a second
    rate: float = 0.0  # of now
    _frames: int = 0
    _known_s: float = 0.0  # how long the habit has been learnt
    _looked_s: float = math.inf
    _heard_s: float = math.inf

    def begin(self, frames: int, now_s: float) -> None:
        """Begin anew, with a new connection or a market that has opened."""
        self.habit = self.rate = self._known_s = 0.0
        self._frames, self._looked_s, self._heard_s = frames, now_s, now_s

    def look(self, frames: int, now_s: float, usual: Usual | None = None) -> Verdict:
        """Judge, given the frames that have come so far, and what is usual now; to be asked about once a second."""
        passed_s = max(now_s - self._looked_s, 1e-3)
        if passed_s > UNWATCHED_S:
            self._heard_s += passed_s
        fresh, self._frames, self._looked_s = frames - self._frames, frames, now_s
        if fresh:
            since_s, self._heard_s = max(now_s - self._heard_s, passed_s), now_s
            self._known_s += since_s
            self.habit += (fresh / since_s - self.habit) * min(since_s / min(HABIT_S, self._known_s), 1.0)
        else:
            allowed_s = max(SILENCE_S, SILENCE_PACES / self.habit if self.habit else math.inf)
            waited_s = now_s - self._heard_s
            if waited_s > allowed_s:  # silence is not learnt as a habit
                return Verdict.DEAD if waited_s > 2 * allowed_s else Verdict.QUIET
        self.rate += (fresh / passed_s - self.rate) * min(passed_s / min(NOW_S, self._known_s + passed_s), 1.0)
        rate, slow_below = usual or Usual(self.habit, SLOW_SHARE * self.habit)
        slow = self._known_s > KNOWN_S and self.rate < slow_below and rate * NOW_S > SILENCE_PACES
        return Verdict.SLOW if slow else Verdict.WELL
