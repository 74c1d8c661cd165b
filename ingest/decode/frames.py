"""Decode websocket messages into `Frames`. Pure; knows the wire format, not the market.

A real frame, shortened (one instrument of a `live_feed` of 15 Dec 2025, 09:32:54 IST)::

    type: live_feed                     0 is initial_feed, which is not written on the wire
    currentTs: 1765771374837            server time, epoch ms
    feeds["NSE_FO|60166"]:
      requestMode: full_d5              what Upstox returns for mode `full`
      fullFeed.marketFF:
        ltpc: ltp 269.2  ltt 1765771373617  ltq 35  cp 339.3
        marketLevel.bidAskQuote[0]: bidQ 70  bidP 268.2  askQ 315  askP 268.45
        optionGreeks: delta 0.328  theta -15.022  gamma 0.0003  vega 43.8769  rho 8.0303
        marketOHLC.ohlc: "1d" (ts = midnight IST) and "I1" (the last completed minute)
        atp 286.89  vtt 510160  oi 1565935  iv 0.10440826  tbq 56105  tsq 127330

proto3 scalars have no presence: 0 is "zero or not sent". Only sub-messages have presence, so the
fields are passed on in the groups in which they are sent or omitted.

Many frames are read at once into columns (`columns`). Messages not written the way serialisers write
(a map key twice, two members of one oneof, fields out of order, unknown fields; no vendor sends these)
are detected and given to protobuf, which rejects the frame or rewrites it in plain form, which is then read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ingest.decode.columns import PAD_BYTES, Text, read_columns
from ingest.decode.frame_limits import KEYS_MAX, excess_of
from ingest.decode.market_status import status_of
from ingest.decode.message_plan import MessagePlan
from ingest.decode.updates import read_feeds
from ingest.decode.varint import varint
from ingest.errors import DecodeError
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import Frames, FrameType
from ingest.model.ticks import Integers, Mask
from ingest.proto import upstox_feed_v3_pb2 as pb

# An empty message takes the place of a frame with nothing to read, so that column indices stay aligned.
NOTHING = b""

_TYPE, _FEEDS, _CURRENT_TS, _MARKET_INFO = 0x08, 0x12, 0x18, 0x22  # tags of FeedResponse, in the order written
_ENTRIES = MessagePlan(pb.FeedResponse.FeedsEntry.DESCRIPTOR, first_only={"bidAskQuote"})


def decode(payload: bytes) -> Frames:
    """Decode one message of the feed; see `decode_all`.

    Raises
    ------
    DecodeError
        If the bytes are not a FeedResponse or its time is impossible.
    """
    frames = decode_all([payload])
    if error := frames.errors.get(0):
        raise error
    return frames


def decode_all(payloads: Sequence[bytes]) -> Frames:
    """Decode messages of the feed; takes about 2 µs per update when many are given at once.

    Parameters
    ----------
    payloads
        Whole binary messages: one serialised FeedResponse each.

    Returns
    -------
    Frames
        One for each payload, in order. Updates are as sent: not merged, not judged.
        A payload has no updates and an entry in `errors` if it is not a FeedResponse, its time is impossible, or it
        has more keys than a connection or more segments than a market may have (`frame_limits`).
    """
    payloads = list(payloads)
    errors: dict[int, DecodeError] = {}
    read = _Read(payloads)
    if odd := read.odd():
        for index in odd:
            try:
                payloads[index] = _plain(payloads[index])
            except DecodeError as exc:
                errors[index], payloads[index] = exc, NOTHING
        read = _Read(payloads)
    for index in np.flatnonzero(_impossible_time(read.current_ms)).tolist():
        errors.setdefault(index, DecodeError(f"frame has impossible currentTs {int(read.current_ms[index])!r}"))
    status = {
        index: status_of(pb.FeedResponse.FromString(payloads[index]).marketInfo, int(read.current_ms[index]))
        for index in np.flatnonzero(read.type == FrameType.MARKET_INFO).tolist()
    }
    return Frames(read.type, read.current_ms, read.ends, read.updates, errors, status, read.candles)


def _impossible_time(current_ms: Integers) -> Mask:
    return (current_ms < CURRENT_MS_MIN) | (current_ms > CURRENT_MS_MAX)


def _plain(payload: bytes) -> bytes:
    """Rewrite a frame as protobuf understands it, without unknown fields.

    Raises
    ------
    DecodeError
        If it is not a frame, or holds too much to be given to protobuf.
    """
    if excess := excess_of(payload):
        raise DecodeError(f"frame has {excess}")
    try:
        message = pb.FeedResponse.FromString(payload)
    except ProtobufDecodeError as exc:
        raise DecodeError(f"frame of {len(payload)} bytes is not a FeedResponse: {exc}") from exc
    message.DiscardUnknownFields()
    if int(message.type) == FrameType.MARKET_INFO or not CURRENT_MS_MIN <= message.currentTs <= CURRENT_MS_MAX:
        message.ClearField("feeds")
    return message.SerializeToString(deterministic=True)  # a replay gets the keys in the same order


class _Head(NamedTuple):
    """Fields of a frame outside its feeds."""

    type: int
    current_ms: int
    feeds_end: int  # number of entries in this frame and those before it
    informs: bool  # has a marketInfo


class _Read:
    """Frames as columns, and those that protobuf must check."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._data = b"".join([*payloads, bytes(PAD_BYTES)])
        self._odd: set[int] = set()
        self._begins: list[int] = []  # of the entries of all feeds, after tag and length
        self._stops: list[int] = []
        heads: list[_Head] = []
        at = 0
        for index, payload in enumerate(payloads):
            heads.append(self._scan(index, at, at + len(payload)))
            at += len(payload)
        types, times, ends, informs = np.array(heads, np.int64).reshape(len(heads), 4).T
        self.type, self.current_ms, self._informs = types.astype(np.int32).astype(np.int64), times, informs != 0
        self.ends: Integers = np.concatenate([[0], ends])
        entries, strays = read_columns(
            _ENTRIES, self._data, np.array(self._begins, np.int64), np.array(self._stops, np.int64)
        )
        keys = self._keys(entries.texts.get("key"))
        self.updates, self.candles, odd = read_feeds(keys, entries.messages.get("value"))
        self._find_odd(np.flatnonzero(strays | odd))
        for index, (start, end) in enumerate(pairwise(self.ends.tolist())):
            distinct = set(keys[start:end])
            if len(distinct) < end - start or "" in distinct:
                self._odd.add(index)

    def odd(self) -> list[int]:
        """Return the frames whose columns may differ from what protobuf reads, or whose feeds must not be read."""
        unread = (self.type == FrameType.MARKET_INFO) | _impossible_time(self.current_ms)
        unread &= np.diff(self.ends) > 0
        return sorted(self._odd.union(np.flatnonzero(unread | self._informs).tolist()))

    def _scan(self, index: int, at: int, stop: int) -> _Head:
        """Find the entries of a frame and read its other fields; a frame with too many keys is odd."""
        data, begins, stops = self._data, self._begins, self._stops
        before = len(begins)
        kind = current_ms = 0
        informs = False
        try:
            if at < stop and data[at] == _TYPE:
                kind, at = varint(data, at + 1)
            while at < stop and data[at] == _FEEDS and len(begins) - before <= KEYS_MAX:
                size = data[at + 1]
                if size < 128:
                    at += 2
                else:
                    size += (data[at + 2] << 7) - 128
                    at += 3
                    if size >= 1 << 14:  # the length takes three bytes or more
                        size, at = varint(data, at - 2)
                        size = max(size, 0)
                begins.append(at)
                at += size
                stops.append(at)
            if at < stop and data[at] == _CURRENT_TS:
                current_ms, at = varint(data, at + 1)
            if at < stop and data[at] == _MARKET_INFO:
                informs = True
                size, at = varint(data, at + 1)
                at += size
        except (ValueError, IndexError):  # not a varint, or it leads out of the buffer
            at = -1
        if at != stop or len(begins) - before > KEYS_MAX:
            self._odd.add(index)
            del begins[before:], stops[before:]
        return _Head(kind, current_ms, len(begins), informs)

    def _keys(self, keys: Text | None) -> list[str]:
        """Return the key of each entry; a key that is not valid UTF-8 makes its frame odd."""
        if keys is None:
            return [""] * len(self._begins)
        data, begins, ends = self._data, keys.begin.tolist(), keys.end.tolist()
        try:
            return [data[begin:end].decode() for begin, end in zip(begins, ends, strict=True)]
        except UnicodeDecodeError:
            spans = enumerate(zip(begins, ends, strict=True))
            return [self._key(entry, data[begin:end]) for entry, (begin, end) in spans]

    def _key(self, entry: int, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError:
            self._find_odd(np.array([entry]))
            return ""

    def _find_odd(self, entries: Integers) -> None:
        """Mark the frames of some entries as odd."""
        self._odd.update((np.searchsorted(self.ends, entries, side="right") - 1).tolist())
