"""What a `market_info` frame says of each segment, auctions among it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ingest.decode.frames import decode
from ingest.market.calendar import Calendar, SegmentState
from ingest.market.segment_states import SegmentStates
from ingest.proto import upstox_feed_v3_pb2 as pb

NOON = datetime(2026, 11, 18, 6, 30, tzinfo=UTC)  # the calendar has no auction then


def said(*, cas: str = "", pre_open: str = "", name: str = "NSE_EQ", age: timedelta = timedelta()) -> dict[str, int]:
    """What a frame of noon comes to whose segments are all open."""
    message = pb.FeedResponse(type=pb.market_info, currentTs=int(NOON.timestamp() * 1000))
    for segment in ("NSE_EQ", "NSE_FO"):
        message.marketInfo.segmentStatus[segment] = pb.NORMAL_OPEN
    updated_ms = int((NOON - age).timestamp() * 1000)
    if cas:
        message.marketInfo.casMarketStatus[name].CopyFrom(pb.StatusInfo(status=cas, updatedTime=updated_ms))
    if pre_open:
        message.marketInfo.preOpenSessionStatus[name].CopyFrom(pb.StatusInfo(status=pre_open, updatedTime=updated_ms))
    return decode(message.SerializeToString()).segment_status[0]


def state(status: dict[str, int], segment: str = "NSE_EQ") -> SegmentState:
    segments = SegmentStates(Calendar())
    segments.hear(status, NOON)
    return segments.state(segment, NOON)


@pytest.mark.parametrize("cas", ["CTS_CLOSE", "CAS_LM_START", "CAS_M_STOP", "CAS_STOP"])
@pytest.mark.parametrize("name", ["NSE_EQ", "NSE"])
def test_closing_auction_that_goes_on_is_no_open_market_for_shares_and_one_for_derivatives(cas: str, name: str) -> None:
    status = said(cas=cas, name=name)
    assert state(status) is SegmentState.AUCTION
    assert state(status, "NSE_FO") is SegmentState.OPEN


@pytest.mark.parametrize("pre_open", ["PRE_OPEN_START", "PRE_OPEN_M_END"])
def test_pre_open_session_that_goes_on_is_no_open_market(pre_open: str) -> None:
    assert state(said(pre_open=pre_open)) is SegmentState.PRE_OPEN


@pytest.mark.parametrize(
    "status",
    [
        said(),
        said(cas="NORMAL_CLOSE"),
        said(pre_open="PRE_OPEN_END"),
        said(cas="A_NEW_WORD"),
        said(cas="CAS_M_STOP", age=timedelta(days=1)),
    ],
    ids=["nothing", "over", "pre-open over", "unknown", "yesterday's"],
)
def test_what_is_over_or_not_known_leaves_the_segment_as_it_is(status: dict[str, int]) -> None:
    assert state(status) is SegmentState.OPEN
