"""Clock: which frames have a time that cannot be theirs, judged by the frames round them. Pure.

A frame that was altered on its way may still parse, with another `currentTs`. Its receive time
alone does not show that: a recording may be played years later, and faster than it was made. So a
frame is a stray where its time departs from the frame before it and most of the next frames come
back. Where they do not, the feed's clock has moved, and the frame is believed.

A frame that departs is held back until the next five are there; all others pass at once. The same
records give the same strays, however they were read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ingest.errors import DecodeError
from ingest.pipeline.decoded_records import DecodedRecords

DEPARTS_MS = 60_000  # less does no harm that could be told from a feed that is late
WITNESSES = 5  # frames behind one that departs; among a hundred that were altered three of five are not

Time = tuple[int, int]  # a frame's own time and our clock at its receipt, epoch ms


@dataclass(slots=True)
class StrayFilter:
    """Readings in order, given back when the time of each of their frames has been judged.

    Parameters
    ----------
    last
        The last frame that was believed; None before the first: that is held against our own clock.
    """

    last: Time | None = None
    _waiting: deque[DecodedRecords] = field(default_factory=deque)

    def add(self, read: DecodedRecords) -> None:
        """Take the next reading."""
        self._waiting.append(read)

    def judged(self, *, final: bool) -> DecodedRecords | None:
        """Return the next reading, its strays among the errors; None while frames must come first.

        Parameters
        ----------
        final
            None will come any more: who is left is the witness.
        """
        if not self._waiting:
            return None
        read = self._waiting[0]
        indices, times = _times(read)
        if not self._is_even(times):
            witnesses = [time for later in list(self._waiting)[1:] for time in _times(later)[1]]
            strays = self._strays(times, times + witnesses[:WITNESSES], final=final)
            if strays is None:
                return None
            read = read.without({indices[at]: _error(times[at], near) for at, near in strays.items()})
        elif times:
            self.last = times[-1]
        self._waiting.popleft()
        return read

    def _is_even(self, times: Sequence[Time]) -> bool:
        """Whether nothing departs, in one look."""
        if not times or self.last is None:
            return not times
        return bool((np.abs(np.diff([self.last[0], *(time[0] for time in times)])) <= DEPARTS_MS).all())

    def _strays(self, times: Sequence[Time], known: Sequence[Time], *, final: bool) -> dict[int, Time] | None:
        """Find the strays among `times`, each with the frame before it; None if that cannot be said yet."""
        last, strays = self.last or (times[0][1], times[0][1]), {}
        for at, time in enumerate(times):
            if not agree(last, time):
                witnesses = known[at + 1 : at + 1 + WITNESSES]
                if len(witnesses) < WITNESSES and not final:
                    return None
                if 2 * sum(agree(last, witness) for witness in witnesses) > len(witnesses):
                    strays[at] = last
                    continue
            last = time
        self.last = last
        return strays


def _times(read: DecodedRecords) -> tuple[list[int], list[Time]]:
    """Return the records that have a time, and their times."""
    indices = [index for index, ms in enumerate(read.current_ms) if ms]
    return indices, [(read.current_ms[index], read.records[index].received_us // 1000) for index in indices]


def agree(one: Time, two: Time) -> bool:
    """Tell whether two frames are near each other, or as far apart as our clock says."""
    step_ms = two[0] - one[0]
    return abs(step_ms) <= DEPARTS_MS or abs(step_ms - (two[1] - one[1])) <= DEPARTS_MS


def _error(time: Time, near: Time) -> DecodeError:
    return DecodeError(f"frame has currentTs {time[0]!r} among frames of about {near[0]!r}")
