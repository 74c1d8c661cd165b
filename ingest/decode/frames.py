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

Frames are read by one of two decoders, which read the same: `compiled`, a module built at installation, or `plain`
where there was no compiler. Each leaves what is not an ordinary feed to protobuf (`_parse`); what protobuf accepts is
written again in a form that the decoders read (`_ordinary`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError as ProtobufDecodeError

from ingest.decode import plain
from ingest.decode.columns import Columns
from ingest.decode.frame_limits import excess_of
from ingest.decode.market_status import status_of
from ingest.errors import DecodeError
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import Frames
from ingest.proto import upstox_feed_v3_pb2 as pb

try:
    from ingest.decode import compiled
except ImportError:  # installed without a compiler
    DECODER, _read = "plain", plain.read
else:
    DECODER, _read = "compiled", compiled.read

# An empty message takes the place of a frame with nothing to read, so that column indices stay aligned.
NOTHING = b""


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


def decode_all(
    payloads: Sequence[bytes], read: Callable[[Sequence[bytes], int], Columns] = _read, *, levels: int = 0
) -> Frames:
    """Decode messages of the feed.

    Parameters
    ----------
    payloads
        Whole binary messages: one serialised FeedResponse each.
    read
        The decoder: `compiled.read` or `plain.read`.
    levels
        Levels of the book to read; the best one is always in `carried`.

    Returns
    -------
    Frames
        One for each payload, in order. Updates are as sent: not merged, not judged.
        A payload has no updates and an entry in `errors` if it is not a FeedResponse, its time is impossible, or it
        has more keys than a connection or more segments than a market may have (`frame_limits`).
    """
    columns = read(payloads, levels)
    errors: dict[int, DecodeError] = {}
    status: dict[int, dict[str, int]] = {}
    if unsure := columns.unsure:
        informing: dict[int, pb.FeedResponse] = {}
        ordinary = list(payloads)
        for index in unsure:
            ordinary[index] = NOTHING
            try:
                message = _parse(payloads[index])
            except DecodeError as exc:
                errors[index] = exc
                continue
            if message.type == pb.market_info:
                informing[index] = message
            else:
                ordinary[index] = _ordinary(message)
        columns = read(ordinary, levels)
        for index in set(columns.unsure) - errors.keys() - informing.keys():  # none is known; it must not vanish
            errors[index] = DecodeError(
                f"frame of {len(payloads[index])} bytes cannot be read by the {DECODER} decoder"
            )
        for index, message in informing.items():
            columns.type[index], columns.current_ms[index] = message.type, message.currentTs
            status[index] = status_of(message.marketInfo, message.currentTs)
    return Frames(columns.type, columns.current_ms, columns.ends, columns.updates, errors, status, columns.candles)


def _parse(payload: bytes) -> pb.FeedResponse:
    """Parse a frame with protobuf.

    Raises
    ------
    DecodeError
        If it is not a frame, its time is impossible, or it holds too much to be given to protobuf.
    """
    if excess := excess_of(payload):
        raise DecodeError(f"frame has {excess}")
    try:
        message = pb.FeedResponse.FromString(payload)
    except ProtobufDecodeError as exc:
        raise DecodeError(f"frame of {len(payload)} bytes is not a FeedResponse: {exc}") from exc
    if not CURRENT_MS_MIN <= message.currentTs <= CURRENT_MS_MAX:
        raise DecodeError(f"frame has impossible currentTs {message.currentTs!r}")
    return message


def _ordinary(message: pb.FeedResponse) -> bytes:
    """Write a frame the way serialisers do: its feeds only, without unknown fields, in the order of the keys."""
    message.ClearField("marketInfo")
    message.DiscardUnknownFields()
    return message.SerializeToString(deterministic=True)
