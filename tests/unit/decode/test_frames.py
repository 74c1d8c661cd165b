"""Decode: every message kind and mode, made with the vendor's own classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as vendor

from ingest.decode import plain
from ingest.decode.columns import Columns
from ingest.decode.frames import decode, decode_all
from ingest.errors import DecodeError
from ingest.model.frames import FrameType, Mode, Update
from ingest.proto import upstox_feed_v3_pb2 as ours

NOW_MS = 1_765_771_374_837
KEY = "NSE_FO|60166"


def full_feed() -> vendor.Feed:
    """A full update of an option, as recorded on 15 Dec 2025."""
    feed = vendor.Feed(requestMode=vendor.full_d5)
    market = feed.fullFeed.marketFF
    market.ltpc.ltp, market.ltpc.ltt, market.ltpc.ltq, market.ltpc.cp = 269.2, NOW_MS - 1220, 35, 339.3
    for level in range(5):
        market.marketLevel.bidAskQuote.add(bidQ=70 + level, bidP=268.2 - level, askQ=315, askP=268.45 + level)
    market.optionGreeks.delta, market.optionGreeks.vega = 0.328, 43.8769
    market.optionGreeks.theta, market.optionGreeks.gamma, market.optionGreeks.rho = -15.022, 0.0003, 8.0303
    market.marketOHLC.ohlc.add(interval="I1", open=263, high=269.95, low=262.15, close=264.65, vol=18760, ts=NOW_MS)
    market.marketOHLC.ohlc.add(interval="1d", open=299.95, high=312.4, low=260, close=269.2, ts=1765737000000)
    market.atp, market.vtt, market.oi, market.iv, market.tbq, market.tsq = 286.89, 510160, 1565935, 0.1, 56105, 127330
    return feed


def message(feed: vendor.Feed, key: str = KEY, kind: int = vendor.live_feed) -> bytes:
    response = vendor.FeedResponse(type=kind, currentTs=NOW_MS)
    response.feeds[key].CopyFrom(feed)
    return response.SerializeToString()


def only(payload: bytes) -> Update:
    """The one update of a frame."""
    frames = decode(payload)
    assert len(frames) == len(frames.updates) == 1
    return frames.updates.one(0)


def test_decode_full_of_vendor_classes_reads_every_group() -> None:
    frame = decode(message(full_feed()))
    assert (frame.type.tolist(), frame.current_ms.tolist()) == ([FrameType.LIVE_FEED], [NOW_MS])
    update = frame.updates.one(0)
    assert update.instrument_key == KEY
    assert update.mode == Mode.FULL
    assert (update.ltp, update.ltt_ms, update.ltq, update.prev_close) == (269.2, NOW_MS - 1220, 35, 339.3)
    assert (update.vtt, update.oi, update.atp, update.iv) == (510160, 1565935, 286.89, 0.1)
    assert update.depth == (268.2, 70, 268.45, 315, 56105, 127330)
    assert update.greeks == (0.328, 0.0003, -15.022, 43.8769, 8.0303)
    assert update.day_candle == (1765737000000, 299.95, 312.4, 260)


def test_decode_full_without_sub_messages_says_not_sent() -> None:
    feed = full_feed()
    for group in ("marketLevel", "optionGreeks", "marketOHLC"):
        feed.fullFeed.marketFF.ClearField(group)
    update = only(message(feed))
    assert (update.depth, update.greeks, update.day_candle) == (None, None, None)
    assert update.vtt == 510160


def test_decode_full_without_price_keeps_the_rest() -> None:
    feed = full_feed()
    feed.fullFeed.marketFF.ClearField("ltpc")
    update = only(message(feed))
    assert (update.ltp, update.ltt_ms) == (0, 0)
    assert update.depth is not None
    assert update.vtt == 510160


def test_decode_initial_feed_is_told_apart_although_its_type_is_not_on_the_wire() -> None:
    assert decode(message(full_feed(), kind=vendor.initial_feed)).type[0] == FrameType.INITIAL_FEED


def test_decode_full_d30_reads_the_best_level() -> None:
    feed = full_feed()
    feed.requestMode = vendor.full_d30
    for level in range(5, 30):
        feed.fullFeed.marketFF.marketLevel.bidAskQuote.add(bidP=268.2 - level, askP=268.45 + level)
    update = only(message(feed))
    assert update.mode == Mode.FULL_D30
    assert update.depth is not None
    assert update.depth[0] == 268.2


def test_decode_ltpc_has_a_price_only() -> None:
    feed = vendor.Feed()
    feed.ltpc.ltp, feed.ltpc.ltt, feed.ltpc.ltq, feed.ltpc.cp = 100.5, NOW_MS, 5, 99.0
    update = only(message(feed))
    assert update == (KEY, Mode.LTPC, 100.5, NOW_MS, 5, 99.0, 0, 0.0, 0.0, 0.0, None, None, None)


def test_decode_option_greeks_has_the_first_level() -> None:
    feed = vendor.Feed(requestMode=vendor.option_greeks)
    first = feed.firstLevelWithGreeks
    first.ltpc.ltp, first.ltpc.ltt = 100.5, NOW_MS
    first.firstDepth.bidP, first.firstDepth.askP = 100.0, 101.0
    first.optionGreeks.delta, first.optionGreeks.vega = 0.5, 1.5
    first.vtt, first.oi, first.iv = 10, 20, 0.2
    update = only(message(feed))
    assert update.mode == Mode.OPTION_GREEKS
    assert update.depth is not None
    assert update.depth[:4] == (100.0, 0, 101.0, 0)
    assert update.greeks == (0.5, 0, 0, 1.5, 0)
    assert (update.vtt, update.oi, update.iv) == (10, 20, 0.2)


def test_decode_index_has_no_volume_and_no_book() -> None:
    feed = vendor.Feed(requestMode=vendor.full_d5)
    index = feed.fullFeed.indexFF
    index.ltpc.ltp, index.ltpc.ltt, index.ltpc.cp = 26244.15, NOW_MS, 26205.3
    index.marketOHLC.ohlc.add(interval="1d", open=26261.25, high=26310.45, low=26208.9, close=26244.15, ts=NOW_MS)
    update = only(message(feed, "NSE_INDEX|Nifty 50"))
    assert (update.ltp, update.vtt, update.depth, update.greeks) == (26244.15, 0, None, None)
    assert update.day_candle == (NOW_MS, 26261.25, 26310.45, 26208.9)


def test_decode_market_info_gives_segment_status() -> None:
    response = vendor.FeedResponse(type=vendor.market_info, currentTs=NOW_MS)
    response.marketInfo.segmentStatus["NSE_FO"] = vendor.NORMAL_OPEN
    response.marketInfo.segmentStatus["NSE_EQ"] = vendor.PRE_OPEN_START
    frame = decode(response.SerializeToString())
    assert len(frame.updates) == 0
    assert frame.segment_status[0] == {"NSE_FO": vendor.NORMAL_OPEN, "NSE_EQ": vendor.PRE_OPEN_START}


def test_schema_equals_the_vendors_field_for_field() -> None:
    def shape(descriptor: object) -> object:
        return (
            {
                name: [(field.name, field.number, field.type, field.is_repeated) for field in found.fields]
                for name, found in descriptor.message_types_by_name.items()
            },
            {
                name: [(value.name, value.number) for value in found.values]
                for name, found in descriptor.enum_types_by_name.items()
            },
        )

    assert shape(ours.DESCRIPTOR) == shape(vendor.DESCRIPTOR)


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\xff", b"not protobuf at all", b"", vendor.FeedResponse(currentTs=-5).SerializeToString()],
)
def test_decode_bad_frame_raises_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(payload)


def test_decode_every_truncation_raises_or_decodes() -> None:
    whole = message(full_feed())
    for length in range(len(whole)):
        try:
            decode(whole[:length])
        except DecodeError:
            continue


@given(st.data())
def test_decode_flipped_bytes_raise_nothing_else(data: st.DataObject) -> None:
    payload = bytearray(message(full_feed()))
    for _ in range(data.draw(st.integers(1, 8))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(payload))
    except DecodeError:
        return


def test_decode_all_of_no_payloads_is_no_frames() -> None:
    assert len(decode_all([])) == 0


def test_decode_all_keeps_bad_frames_apart_and_the_rest_in_place() -> None:
    good, info = message(full_feed()), vendor.FeedResponse(type=vendor.market_info, currentTs=NOW_MS)
    info.marketInfo.segmentStatus["NSE_EQ"] = vendor.NORMAL_OPEN
    old = message(full_feed(), "NSE_EQ|OLD").replace(
        vendor.FeedResponse(currentTs=NOW_MS).SerializeToString(), vendor.FeedResponse(currentTs=5).SerializeToString()
    )
    frames = decode_all([b"\xff", good, b"", info.SerializeToString(), old, good, good[:-3]])
    assert sorted(frames.errors) == [0, 2, 4, 6]
    assert "not a FeedResponse" in str(frames.errors[0])
    assert "impossible currentTs 5" in str(frames.errors[4])
    assert np.diff(frames.ends).tolist() == [0, 1, 0, 0, 0, 1, 0]
    assert frames.updates.keys == [KEY, KEY]
    assert frames.segment_status == {3: {"NSE_EQ": vendor.NORMAL_OPEN}}
    part = frames.part(3, 6)
    assert (len(part), len(part.updates), list(part.errors), list(part.segment_status)) == (3, 1, [1], [0])


def test_decode_frame_that_a_decoder_leaves_twice_is_an_error_and_does_not_vanish() -> None:
    def never_sure(payloads: Sequence[bytes], levels: int) -> Columns:
        return plain.read([b""] * len(payloads), levels)

    frames = decode_all([message(full_feed())], never_sure)
    assert list(frames.errors) == [0]
    assert "cannot be read" in str(frames.errors[0])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of up to 2 MB."""
    length = len(payload)
    return bytes([number << 3 | 2, length & 127 | 128, length >> 7 & 127 | 128, length >> 14]) + payload


def test_decode_key_twice_in_a_frame_is_the_last_as_in_protobuf() -> None:
    twice = message(full_feed())
    other = vendor.FeedResponse()
    other.feeds[KEY].ltpc.ltp = 5.0
    update = only(twice + other.SerializeToString())
    assert (update.ltp, update.mode) == (5.0, Mode.LTPC)


def test_decode_two_members_of_a_oneof_is_the_last_as_in_protobuf() -> None:
    price = vendor.Feed()
    price.ltpc.ltp = 5.0
    both = full_feed().SerializeToString() + price.SerializeToString()
    time = vendor.FeedResponse(currentTs=NOW_MS).SerializeToString()
    update = only(time + field(2, field(1, KEY.encode()) + field(2, both)))
    assert (update.ltp, update.mode, update.depth) == (5.0, Mode.LTPC, None)


def test_decode_entry_without_value_is_an_empty_update() -> None:
    time = vendor.FeedResponse(currentTs=NOW_MS).SerializeToString()
    update = only(time + field(2, field(1, KEY.encode())))
    assert (update.instrument_key, update.ltp, update.depth) == (KEY, 0.0, None)


def test_decode_key_that_is_no_text_is_an_error() -> None:
    time = vendor.FeedResponse(currentTs=NOW_MS).SerializeToString()
    with pytest.raises(DecodeError):
        decode(time + field(2, field(1, b"\xff\xfe") + field(2, b"")))
