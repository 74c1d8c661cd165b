"""Reduce a `market_info` frame to one status per segment. Pure.

Since the vendor's SDK 2.30.0 the frame has, besides `segmentStatus`, the states of the closing auction and of
the pre-open session as words (UPSTOX V3, sections 3 and 4). During either, most shares are silent for a good
reason, whatever `segmentStatus` says, so the segment must not count as open.

    casMarketStatus        CTS_CLOSE 15:15 ► CAS_LM_START 15:20 ► CAS_M_STOP 15:25 ► CAS_STOP 15:28 ► NORMAL_CLOSE
    preOpenSessionStatus   PRE_OPEN_START ► PRE_OPEN_M_END ► PRE_OPEN_END
"""

from __future__ import annotations

from collections.abc import Mapping

from ingest.market.time import day_number
from ingest.model.keys import is_segment
from ingest.proto import upstox_feed_v3_pb2 as pb

# Values of MarketStatus.
PRE_OPEN_START, CLOSING_START = 0, 4
IN_CLOSING_AUCTION = frozenset({"CTS_CLOSE", "CAS_LM_START", "CAS_M_STOP", "CAS_STOP"})
IN_PRE_OPEN = frozenset({"PRE_OPEN_START", "PRE_OPEN_M_END"})
# Some of the vendor's answers name the exchange instead of the segment.
_SEGMENTS = {"NSE": "NSE_EQ", "NFO": "NSE_FO", "BSE": "BSE_EQ", "BFO": "BSE_FO"}


def status_of(info: pb.MarketInfo, current_ms: int) -> dict[str, int]:
    """Return segment -> `MarketStatus`; an auction in progress overrides `segmentStatus`.

    Names that cannot be a segment's are left out.

    Parameters
    ----------
    info
        The frame's `marketInfo`.
    current_ms
        The frame's time. A status word of an earlier day, which the vendor may repeat, is ignored.
    """
    found: dict[str, int] = dict(info.segmentStatus)
    found |= dict.fromkeys(_going_on(info.preOpenSessionStatus, IN_PRE_OPEN, current_ms), PRE_OPEN_START)
    found |= dict.fromkeys(_going_on(info.casMarketStatus, IN_CLOSING_AUCTION, current_ms), CLOSING_START)
    return {name: status for name, status in found.items() if is_segment(name)}


def _going_on(statuses: Mapping[str, pb.StatusInfo], words: frozenset[str], current_ms: int) -> list[str]:
    return [
        _SEGMENTS.get(name, name)
        for name, said in statuses.items()
        if said.status in words and _is_of_today(said.updatedTime, current_ms)
    ]


def _is_of_today(updated_ms: int, current_ms: int) -> bool:
    """Return whether a status word belongs to the frame's Indian day; one without a time does."""
    return not updated_ms or day_number(updated_ms) == day_number(current_ms)
