"""Decode: bytes of websocket messages to `Frames`. Pure; knows the wire, not the market.

A real frame, shortened (one instrument of a `live_feed` of 15 Dec 2025, 09:32:54 IST)::

    type: live_feed                     0 is initial_feed and is then not on the wire
    currentTs: 1765771374837            server time, epoch ms
    feeds["NSE_FO|60166"]:
      requestMode: full_d5              what `full` comes back as
      fullFeed.marketFF:
        ltpc: ltp 269.2  ltt 1765771373617  ltq 35  cp 339.3
        marketLevel.bidAskQuote[0]: bidQ 70  bidP 268.2  askQ 315  askP 268.45
        optionGreeks: delta 0.328  theta -15.022  gamma 0.0003  vega 43.8769  rho 8.0303
        marketOHLC.ohlc: "1d" (ts = midnight IST) and "I1" (the last completed minute)
        atp 286.89  vtt 510160  oi 1565935  iv 0.10440826  tbq 56105  tsq 127330

proto3 scalars have no presence: 0 is "zero or not sent". Presence exists for sub-messages
only, so the fields are handed on in the groups in which they come or do not come.

Frames are read many at a time into columns (`wire`). What these say differently from protobuf (a
key twice in a map, two members of one oneof, an entry without a key; no vendor sends these) is
found, and such a frame put into protobuf's plain form first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError
from numpy.typing import NDArray

from ingest.market_info import status_of
from ingest.model import CARRIED_NAMES, Candles, Floats, Frames, FrameType, Integers, Mask, Mode, Updates
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.wire import Message, read_columns
from sql.errors import DecodeError

# A currentTs outside of these is not a time of this market (2010 to 2100).
CURRENT_MS_MIN = 1_262_304_000_000
CURRENT_MS_MAX = 4_102_444_800_000

# An empty message stands for a frame that has nothing to read, so that columns keep their places.
NOTHING = b""

_DEPTH = {"bid": "bidP", "bid_qty": "bidQ", "ask": "askP", "ask_qty": "askQ"}
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")
_COLUMN = {name: index for index, name in enumerate(CARRIED_NAMES)}


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
    """Decode messages of the feed: 1 ms for a call and 2 µs for each update in it.

    Parameters
    ----------
    payloads
        Whole binary messages: one serialised FeedResponse each.

    Returns
    -------
    Frames
        One for each payload, in order. Updates are as sent, nothing merged and nothing judged.
        A payload that is not a FeedResponse, or whose time is impossible, has no updates and is
        in `errors`.
    """
    batch, payloads, errors = _parse(list(payloads))
    feeds = _Feeds(batch.column("feeds"))
    if odd := _odd(batch, feeds):
        for index in odd:
            try:
                payloads[index] = _plain(payloads[index])
            except ProtobufDecodeError as exc:
                errors[index], payloads[index] = _not_a_feed_response(payloads[index], exc), NOTHING
        batch = read_columns(payloads)
        feeds = _Feeds(batch.column("feeds"))
    kinds, current_ms = batch.column("type").to_numpy().astype(np.int64), batch.column("currentTs").to_numpy()
    for index in np.flatnonzero(_impossible_time(current_ms)).tolist():
        errors.setdefault(index, DecodeError(f"frame has impossible currentTs {int(current_ms[index])!r}"))
    status = {
        index: status_of(pb.FeedResponse.FromString(payloads[index]).marketInfo, int(current_ms[index]))
        for index in np.flatnonzero(kinds == FrameType.MARKET_INFO).tolist()
    }
    updates, candles = _updates(feeds)
    return Frames(kinds, current_ms, feeds.ends.astype(np.int64), updates, errors, status, candles)


def _parse(payloads: list[bytes]) -> tuple[Any, list[bytes], dict[int, DecodeError]]:
    """Read all that parse: return the columns, what was read, and the errors of the others by index."""
    errors = dict(_not_protobuf(payloads))
    payloads = [NOTHING if index in errors else payload for index, payload in enumerate(payloads)]
    try:
        return read_columns(payloads), payloads, errors
    except ValueError:
        errors |= dict(_refused(payloads, 0))
    payloads = [NOTHING if index in errors else payload for index, payload in enumerate(payloads)]
    return read_columns(payloads), payloads, errors


def _not_protobuf(payloads: list[bytes]) -> Iterator[tuple[int, DecodeError]]:
    """Find what protobuf refuses: the bulk reader skips an unknown field without a look into it."""
    parse = pb.FeedResponse.FromString
    for index, payload in enumerate(payloads):
        try:
            parse(payload)
        except ProtobufDecodeError as exc:
            yield index, _not_a_feed_response(payload, exc)


def _refused(payloads: list[bytes], first: int) -> Iterator[tuple[int, DecodeError]]:
    """Find the payloads that do not parse, by halving."""
    try:
        read_columns(payloads)
    except ValueError as exc:
        if len(payloads) == 1:
            yield first, _not_a_feed_response(payloads[0], exc)
            return
        middle = len(payloads) // 2
        yield from _refused(payloads[:middle], first)
        yield from _refused(payloads[middle:], first + middle)


def _not_a_feed_response(payload: bytes, exc: Exception) -> DecodeError:
    return DecodeError(f"frame of {len(payload)} bytes is not a FeedResponse: {exc}")


def _impossible_time(current_ms: Integers) -> Mask:
    return (current_ms < CURRENT_MS_MIN) | (current_ms > CURRENT_MS_MAX)


def _odd(batch: Any, feeds: _Feeds) -> set[int]:
    """Find the frames whose columns do not say what protobuf would, or whose feeds are not to be read."""
    ends = feeds.ends
    kinds = (feeds.price, feeds.full, feeds.first)
    twice = np.add.reduce([kind.present for kind in kinds], dtype=np.int8) > 1
    twice |= feeds.market.present & feeds.index.present
    odd = set((np.searchsorted(ends, np.flatnonzero(twice), side="right") - 1).tolist())
    unread = (batch.column("type").to_numpy() == FrameType.MARKET_INFO) | _impossible_time(
        batch.column("currentTs").to_numpy()
    )
    odd.update(np.flatnonzero(unread & (np.diff(ends) > 0)).tolist())
    for index, (start, end) in enumerate(pairwise(ends.tolist())):
        distinct = set(feeds.keys[start:end])
        if len(distinct) < end - start or "" in distinct:
            odd.add(index)
    return odd


def _plain(payload: bytes) -> bytes:
    """Write a frame anew as protobuf understands it, without what it does not."""
    message = pb.FeedResponse.FromString(payload)
    message.DiscardUnknownFields()
    if int(message.type) == FrameType.MARKET_INFO or not CURRENT_MS_MIN <= message.currentTs <= CURRENT_MS_MAX:
        message.ClearField("feeds")
    return message.SerializeToString()


class _Feeds:
    """The feeds of all frames, and the messages of each kind in them."""

    def __init__(self, feeds: Any) -> None:
        self.ends: NDArray[np.int32] = feeds.offsets.to_numpy()
        self.keys: list[str] = feeds.keys.to_numpy(zero_copy_only=False).tolist()
        self.feed = Message(feeds.items)
        self.price = self.feed.message("ltpc")
        self.full = self.feed.message("fullFeed")
        self.first = self.feed.message("firstLevelWithGreeks")
        self.market = self.full.message("marketFF")
        self.index = self.full.message("indexFF")


def _either(messages: Iterable[Message], name: str) -> Any:
    """Return a field of whichever message is present; at most one is, and the others read as zero."""
    first, *others = messages
    values = first.numbers(name)
    for message in others:
        if message.somewhere:
            values = values + message.numbers(name)
    return values


def _updates(feeds: _Feeds) -> tuple[Updates, Candles]:
    """Bring all kinds of feeds into the same columns; the candles stand by themselves."""
    market, index, first = feeds.market, feeds.index, feeds.first
    ltpc = [*(kind.message("ltpc") for kind in (market, index, first)), feeds.price]
    greeks = [kind.message("optionGreeks") for kind in (market, first)]
    carried = np.full((len(feeds.keys), len(CARRIED_NAMES)), np.nan)
    carried[:, _COLUMN["prev_close"]] = _either(ltpc, "cp")
    carried[:, _COLUMN["atp"]] = market.numbers("atp")
    for name in ("oi", "iv"):
        carried[:, _COLUMN[name]] = _either((market, first), name)
    for name in _GREEKS:
        carried[:, _COLUMN[name]] = _either(greeks, name)
    has_depth = _fill_depth(carried, market, first)
    kinds = [kind for kind in (market.message("marketOHLC"), index.message("marketOHLC")) if kind.somewhere]
    candles = [kind.array("ohlc") for kind in kinds]
    has_day_candle, day_start_ms = _fill_day_candle(carried, candles)
    minute_ms, minute_row = _find_minute_candle(len(carried), candles)
    mode = np.where(feeds.full.present, feeds.feed.numbers("requestMode"), Mode.LTPC)
    updates = Updates(
        keys=feeds.keys,
        mode=np.where(first.present, Mode.OPTION_GREEKS, mode).astype(np.int64),
        ltp=_either(ltpc, "ltp"),
        ltt_ms=_either(ltpc, "ltt"),
        ltq=_either(ltpc, "ltq"),
        vtt=_either((market, first), "vtt"),
        has_depth=has_depth,
        # What has no greeks is sent an empty message.
        has_greeks=(carried[:, _COLUMN["vega"]] != 0) | (carried[:, _COLUMN["delta"]] != 0),
        has_day_candle=has_day_candle,
        day_start_ms=day_start_ms,
        minute_ms=minute_ms,
        minute_row=minute_row,
        carried=carried,
    )
    return updates, Candles(*(_joined(candles, name) for name in ("open", "high", "low", "close", "vol")))


def _fill_depth(carried: Floats, market: Message, first: Message) -> Mask:
    """Take the best level of the book; return which updates have one."""
    levels = market.message("marketLevel")
    quotes = levels.array("bidAskQuote")
    starts = quotes.offsets.to_numpy()
    has_depth: Mask = levels.present & (np.diff(starts) > 0)
    best = starts[:-1][has_depth]
    for column, name in _DEPTH.items():
        carried[has_depth, _COLUMN[column]] = quotes.values.field(name).to_numpy()[best]
    for name in ("tbq", "tsq"):
        carried[has_depth, _COLUMN[name]] = market.numbers(name)[has_depth]
    depth = first.message("firstDepth")
    if not depth.somewhere:
        return has_depth
    for column, name in _DEPTH.items():  # this mode does not have the totals of the book
        carried[depth.present, _COLUMN[column]] = depth.numbers(name)[depth.present]
    return has_depth | depth.present


def _joined(kinds: Sequence[Any], name: str) -> Any:
    """Return a field of the candles of all kinds of feeds, one kind behind the other."""
    columns = [candles.values.field(name).to_numpy() for candles in kinds]
    if len(columns) == 1:
        return columns[0]
    return np.concatenate(columns) if columns else np.zeros(0)


def _find(candles: Any, interval: bytes) -> tuple[Integers, Integers]:
    """Return the candles of an interval, by which they are found, not by position; and whose they are.

    They stand backwards, so that of several candles of one update the first is written last.
    """
    found = _equal(candles.values.field("interval"), interval)[::-1]
    return found, np.searchsorted(candles.offsets.to_numpy(), found, side="right") - 1


def _find_minute_candle(updates: int, kinds: Sequence[Any]) -> tuple[Integers, Integers]:
    """Find the candle "I1", of the last minute that is over; return its start and its place in `_joined`."""
    minute_ms, minute_row = np.zeros(updates, np.int64), np.zeros(updates, np.int64)
    before = 0
    for candles in kinds:
        found, owner = _find(candles, b"I1")
        minute_ms[owner] = candles.values.field("ts").to_numpy()[found]
        minute_row[owner] = found + before
        before += len(candles.values)
    return minute_ms, minute_row


def _fill_day_candle(carried: Floats, kinds: Sequence[Any]) -> tuple[Mask, Integers]:
    """Take the candle "1d"."""
    has_day_candle = np.zeros(len(carried), np.bool_)
    day_start_ms = np.zeros(len(carried), np.int64)
    for candles in kinds:
        found, owner = _find(candles, b"1d")
        has_day_candle[owner] = True
        day_start_ms[owner] = candles.values.field("ts").to_numpy()[found]
        for column, name in (("day_open", "open"), ("day_high", "high"), ("day_low", "low")):
            carried[owner, _COLUMN[column]] = candles.values.field(name).to_numpy()[found]
    return has_day_candle, day_start_ms


def _equal(strings: Any, wanted: bytes) -> Integers:
    """Return where a string array holds a value (pyarrow.compute would, for 30 MB of memory)."""
    _, offsets, text = strings.buffers()
    if text is None:
        return np.zeros(0, np.int64)
    ends = np.frombuffer(offsets, np.int32, count=len(strings) + 1)
    letters = np.frombuffer(text, np.uint8)
    at = np.flatnonzero(np.diff(ends) == len(wanted))
    for place, letter in enumerate(wanted):
        at = at[letters[ends[at] + place] == letter]
    return at
