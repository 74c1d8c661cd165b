"""Stray frames: find frames with an impossible time by comparing them with the frames around them. Pure.

A frame that was altered in transit may still parse, but with another `currentTs`. Its receive time
alone does not show this, because a recording may be replayed years later and faster than it was made.
So a frame is a stray if its time departs from the frame before it while most of the next frames agree
with that frame. If they do not, the feed's clock has moved, and the frame is accepted.

A departing frame waits until the next five frames are there; all others pass at once. The same
records give the same strays, however they were read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.errors import DecodeError
from ingest.pipeline.decoded_records import DecodedRecords

DEPARTS_MS = 60_000  # a smaller step looks like a late feed and does no more harm
WITNESSES = 5  # frames after a departing one; even with many altered frames, three of five are good

Time = tuple[int, int]  # a frame's own time and our clock at its receipt, epoch ms


@dataclass(slots=True)
class StrayFilter:
    """Take decoded records in order; give them back once the time of each frame has been judged.

    Parameters
    ----------
    last
        Time of the last accepted frame; None: none yet, so the first frame is compared with our own clock.
    """

    last: Time | None = None
    _waiting: deque[DecodedRecords] = field(default_factory=deque)

    def add(self, read: DecodedRecords) -> None:
        """Add the next decoded records."""
        self._waiting.append(read)

    def judged(self, *, final: bool) -> DecodedRecords | None:
        """Return the next decoded records, with strays as errors; None while more frames are needed.

        Parameters
        ----------
        final
            True: no more frames will come, so judge by those that are there.
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
        """Tell quickly whether no frame departs."""
        if not times or self.last is None:
            return not times
        before_ms = self.last[0]
        for ms, _ in times:
            if not -DEPARTS_MS <= ms - before_ms <= DEPARTS_MS:
                return False
            before_ms = ms
        return True

    def _strays(self, times: Sequence[Time], known: Sequence[Time], *, final: bool) -> dict[int, Time] | None:
        """Return index -> time of the frame before it for strays among `times`; None while witnesses are missing."""
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
    """Return the indices of records that have a time, and their times."""
    indices = [index for index, ms in enumerate(read.current_ms) if ms]
    return indices, [(read.current_ms[index], read.records[index].received_us // 1000) for index in indices]


def agree(one: Time, two: Time) -> bool:
    """Tell whether two frames are near each other, or as far apart as by our clock."""
    step_ms = two[0] - one[0]
    return abs(step_ms) <= DEPARTS_MS or abs(step_ms - (two[1] - one[1])) <= DEPARTS_MS


def _error(time: Time, near: Time) -> DecodeError:
    return DecodeError(f"frame has currentTs {time[0]!r} among frames of about {near[0]!r}")
