"""How much a frame holds is counted before protobuf is asked: real bytes of the generated classes, one too many."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest.decode import frames as decoder
from ingest.decode.frame_limits import FIELDS_MAX, KEYS_MAX, LARGE_BYTES, OTHERS_MAX, excess_of
from ingest.decode.frames import decode_all
from ingest.market.calendar import SEGMENTS_MAX, Calendar
from ingest.market.segment_states import SegmentStates
from ingest.market.session_opens import Opens
from ingest.proto import upstox_feed_v3_pb2 as pb

NOW_MS = 1_765_771_374_837
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
SAID = {
    "keys": f"frame has more than the {KEYS_MAX} keys of a connection",
    "segments": f"frame has more than {SEGMENTS_MAX} segments",
    "others": f"frame has more than {OTHERS_MAX} fields beside its feeds",
    "fields": f"frame has more than {FIELDS_MAX} fields",
}


def feeds(count: int) -> bytes:
    message = pb.FeedResponse(type=pb.live_feed, currentTs=NOW_MS)
    for number in range(count):
        message.feeds[f"NSE_FO|{number}"].ltpc.ltp = 1.0
    return message.SerializeToString()


def info(count: int) -> bytes:
    """A `market_info` frame that names so many segments, in three lists."""
    message = pb.FeedResponse(type=pb.market_info, currentTs=NOW_MS)
    for number in range(count // 3):
        name = "NSE_" + chr(65 + number)
        message.marketInfo.segmentStatus[name] = pb.NORMAL_OPEN
        message.marketInfo.casMarketStatus[name].status = "CAS_STOP"
        message.marketInfo.preOpenSessionStatus[name].status = "PRE_OPEN_END"
    for number in range(count % 3):
        message.marketInfo.segmentStatus["NSE_" + "A" * (number + 2)] = pb.NORMAL_OPEN
    return message.SerializeToString()


def candles(count: int) -> bytes:
    """A frame of one key with so many empty candles: two bytes each, and 50 in protobuf's memory."""
    message = pb.FeedResponse(type=pb.live_feed, currentTs=NOW_MS)
    message.feeds["NSE_FO|1"].fullFeed.marketFF.marketOHLC.ohlc.extend([pb.OHLC()] * count)
    return message.SerializeToString()


def halves(one: bytes, other: bytes) -> bytes:
    """Messages one behind the other, as protobuf merges them: their fields are in no order."""
    return one + other


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        pytest.param(feeds(KEYS_MAX), "", id="as many keys as may be"),
        pytest.param(feeds(KEYS_MAX + 1), SAID["keys"], id="one key too many"),
        pytest.param(halves(feeds(KEYS_MAX), feeds(1)), SAID["keys"], id="in no order"),
        pytest.param(feeds(KEYS_MAX + 1)[:-2], SAID["keys"], id="damaged behind them"),
        pytest.param(info(SEGMENTS_MAX), "", id="as many segments as may be"),
        pytest.param(info(SEGMENTS_MAX + 1), SAID["segments"], id="one segment too many"),
        pytest.param(halves(info(SEGMENTS_MAX), info(1)), SAID["segments"], id="segments in two parts"),
        pytest.param(feeds(1) + b"\x38\x00" * (OTHERS_MAX + 1), SAID["others"], id="unknown numbers"),
        pytest.param(feeds(1) + b"\x3b\x3c" * OTHERS_MAX, SAID["others"], id="unknown groups"),
        pytest.param(candles(LARGE_BYTES // 2 + 1), SAID["fields"], id="empty candles"),
    ],
)
def test_frame_of_a_crowd_is_refused_without_protobuf(frame: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = feeds(1)
    if said:
        assert pb.FeedResponse.FromString(good)

        class Unasked:
            """Protobuf that must not be asked."""

            @staticmethod
            def FromString(payload: bytes) -> pb.FeedResponse:  # noqa: N802  protobuf's name
                raise AssertionError(f"protobuf was asked for {len(payload)} bytes")

        monkeypatch.setattr(decoder.pb, "FeedResponse", Unasked)
    frames = decode_all([good, frame, good])
    assert [str(frames.errors.get(1, "")), len(frames.errors)] == [said, int(bool(said))]
    assert len(frames.updates) == 2 + (0 if said or frames.segment_status else KEYS_MAX)


def test_group_hides_no_feeds_and_makes_none() -> None:
    inside = b"\x3b" + feeds(KEYS_MAX)[2:] + b"\x3c"  # protobuf takes it for one unknown field
    assert excess_of(inside + feeds(1)) == f"more than {OTHERS_MAX} fields beside its feeds"
    assert excess_of(b"\x3b" + feeds(9)[2:] + b"\x3c" + feeds(KEYS_MAX)) is None


def test_name_that_is_no_segment_is_left_out() -> None:
    message = pb.FeedResponse(type=pb.market_info, currentTs=NOW_MS)
    for name in ("NSE_EQ", "NSE_EQ\0", "N" * 9_000, "", "nse"):
        message.marketInfo.segmentStatus[name] = pb.PRE_OPEN_START
    assert decode_all([message.SerializeToString()]).segment_status == {0: {"NSE_EQ": pb.PRE_OPEN_START}}


def test_names_of_many_frames_do_not_fill_the_memory() -> None:
    opens, segments = Opens(), SegmentStates(Calendar())
    for number in range(3 * SEGMENTS_MAX):
        name = "X" + "".join(chr(65 + int(digit)) for digit in str(number))
        opens.hear({name: pb.NORMAL_OPEN}, NOW)
        segments.hear({name: pb.NORMAL_OPEN}, NOW)
    assert len(opens.dump()) == len(segments._heard) == SEGMENTS_MAX
