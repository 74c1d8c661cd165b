"""Broker collector: the segments of a collector out of the broker, and out of its own server where blocks are missing.

    a block that begins where bytes are asked for     returned
    one that ends before                              dropped: the ledger has it, or it came twice
    one that begins behind                            a hole: its bytes are fetched from the collector
    none, or no broker                                the collector is asked, as without a broker

Nothing is acknowledged to the broker. The collector is told what is committed, by the broker or by its server, and
removes these blocks itself: so the ledger is the only judge here, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

from ingest.errors import CorruptionError, JournalError
from ingest.journal.format import version_of
from ingest.model.records import Position, order_of
from ingest.transport.broker.blocks import Block, committed_subject, stream_of, subject_of
from ingest.transport.broker.link import BrokerSettings, Link, js_errors, translated
from ingest.transport.broker.receiver import Receiver
from ingest.transport.segments import Listing, Piece, SegmentInfo, SegmentSource, UnreachableError

log = logging.getLogger(__name__)

FIRST_BLOCK_S = 0.5  # for the segments of a collector that does not answer itself
RECEIVE_S = 5.0  # of one request for a block
HEAL_S = 1.0  # without a block for so long, the collector is asked whether it has more
TOLD_S = 2.0
HEADERS_MAX = 8  # segments of a stream whose header is remembered


class Healer(SegmentSource, Protocol):
    """The collector's own server."""

    tells: bool

    async def close(self) -> None:
        """Close its connections."""


@dataclass(slots=True)
class _Stream:
    """One stream, as far as it was read."""

    receiver: Receiver
    ahead: Block | None = None  # received, and not used up
    headers: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    passed: tuple[tuple[int, str], int] = ((-1, ""), 0)  # end of the last block that was used up or dropped
    rewound: tuple[str, int] = ("", -1)  # what the broker was searched for from its beginning
    receiving: asyncio.Task[Block | None] | None = None  # goes on while the collector is asked
    is_behind: bool = False  # the collector had bytes for which the broker was waited for in vain
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Counts:
    """Where bytes came from, for the status."""

    blocks: int = 0
    bytes: int = 0
    dropped: int = 0
    holes: int = 0
    healed_bytes: int = 0


class BrokerCollector:
    """A `SegmentSource` of the blocks of one collector.

    Parameters
    ----------
    settings
        The broker.
    collector
        Its name.
    healer
        Its own server; None: it cannot be reached, so a hole waits until somebody fills it.

    Attributes
    ----------
    counts
        Counters.
    """

    def __init__(self, settings: BrokerSettings, collector: str, healer: Healer | None = None) -> None:
        self.name = f"nats:{collector}"
        self.tells = True
        self.counts = Counts()
        self._collector, self._healer = collector, healer
        self._link = Link(settings, f"writer of {collector}")
        self._streams: dict[str, _Stream] = {}

    @property
    def damaged(self) -> int:
        """How many messages were no whole block."""
        return sum(one.receiver.damaged for one in self._streams.values())

    async def close(self) -> None:
        """Close the connections."""
        for one in list(self._streams.values()):
            if one.receiving is not None:
                one.receiving.cancel()
                await asyncio.gather(one.receiving, return_exceptions=True)
            await one.receiver.close()
        await self._link.close()
        if self._healer is not None:
            await self._healer.close()

    async def streams(self) -> Listing:
        """Return what there is, by the collector itself or, while it does not answer, by its blocks."""
        if self._healer is not None:
            try:
                return await self._healer.streams()
            except UnreachableError as exc:
                log.debug("collector does not answer, its blocks are read collector=%s error=%s", self._collector, exc)
        names = await self._names()
        found: dict[str, tuple[SegmentInfo, ...]] = {}
        for name in names:
            state = self._state(name)
            if not state.lock.locked():  # otherwise it is being read, and its segment is among the headers
                async with state.lock:
                    if state.ahead is None:
                        await self._receive(state, FIRST_BLOCK_S)
            found[name] = tuple(
                SegmentInfo(segment, 0, is_closed=False, version=_version(header))
                for segment, header in sorted(state.headers.items(), key=lambda one: order_of(one[0]))
            )
        return Listing(self._collector, found)

    async def piece(self, stream: str, segment: str, offset: int, *, bytes_max: int, wait_s: float) -> Piece:
        """Return synced bytes of a segment; see `SegmentSource`."""
        state = self._state(stream)
        async with state.lock:
            patience_s = wait_s if self._healer is None else 0.0 if state.is_behind else min(wait_s, HEAL_S)
            if not offset and (header := await self._header(state, segment, patience_s)):
                return Piece(header[:bytes_max], len(header), is_closed=False)
            try:
                found = await self._block(state, segment, offset, patience_s)
            except UnreachableError:
                if self._healer is None:
                    raise
                return await self._healer.piece(stream, segment, offset, bytes_max=bytes_max, wait_s=wait_s)
        if isinstance(found, Block):
            data = found.data[offset - found.offset :][:bytes_max]
            if offset + len(data) == found.end:
                self._use_up(state)
            self.counts.blocks += 1
            self.counts.bytes += len(data)
            return Piece(data, found.end, found.is_last)
        if self._healer is None:
            if found is None:
                return Piece(b"", offset, is_closed=False)
            raise UnreachableError(
                f"blocks of collector {self._collector!r} are missing at the broker, from {segment}:{offset} of stream "
                f"{stream!r} on: give its address to `tickline write`"
            )
        piece = await self._healer.piece(
            stream,
            segment,
            offset,
            bytes_max=min(bytes_max, found or bytes_max),
            wait_s=min(wait_s, HEAL_S) if state.is_behind else 0,
        )
        if found is not None:
            self.counts.holes += 1
        else:
            state.is_behind = bool(piece.data)
        self.counts.healed_bytes += len(piece.data)
        return piece

    async def committed(self, stream: str, position: Position, database: str) -> None:
        """Tell how far the ledger is; see `SegmentSource`."""
        told = {"stream": stream, "segment": position.segment, "offset": position.offset, "database": database}
        try:
            client = await self._link.client()
            with translated():
                answer = await client.request(
                    committed_subject(self._collector), json.dumps(told).encode(), timeout=TOLD_S
                )
            error = json.loads(answer.data).get("error")
        except (UnreachableError, ValueError):
            if self._healer is None or not self._healer.tells:
                raise
            await self._healer.committed(stream, position, database)
            return
        if error:
            raise JournalError(f"collector {self._collector!r} refuses: {str(error)[:300]}")

    async def _names(self) -> list[str]:
        """Return the streams that have blocks."""
        context = await self._link.streams()
        try:
            with translated():
                info = await context.stream_info(stream_of(self._collector), subjects_filter=">")
        except js_errors.APIError as exc:
            raise UnreachableError(f"broker has no blocks of collector {self._collector!r} yet") from exc
        prefix = subject_of(self._collector, "")
        subjects = info.state.subjects or {}
        return sorted(one.removeprefix(prefix) for one in subjects if one.startswith(prefix))

    def _state(self, stream: str) -> _Stream:
        if (state := self._streams.get(stream)) is None:
            state = self._streams[stream] = _Stream(Receiver(self._link, self._collector, stream))
        return state

    async def _header(self, state: _Stream, segment: str, wait_s: float) -> bytes:
        """Return the header of a segment, which each of its blocks has; b"": the next block is of another one."""
        if segment not in state.headers and state.ahead is None:
            with contextlib.suppress(UnreachableError):  # it is said when bytes are asked for
                await self._receive(state, wait_s)
        return state.headers.get(segment, b"")

    async def _block(self, state: _Stream, segment: str, offset: int, wait_s: float) -> Block | int | None:
        """Return the block that has the bytes at a place; how many bytes are missing there; None: nothing came.

        What is missing up to the end of the segment counts as one megabyte, which is more than one answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        place = (order_of(segment), offset)
        while True:
            if state.ahead is None:
                await self._receive(state, max(deadline - loop.time(), 0.0))
            if (block := state.ahead) is None:
                if loop.time() >= deadline:
                    return None
                continue
            ends_it = offset == block.end and block.is_last
            if block.segment == segment and block.offset <= offset and (offset < block.end or ends_it):
                return block
            if block.place > place:
                if place < state.passed and state.rewound != (segment, offset):
                    # Somebody begins again before what was read already.
                    state.rewound, state.passed, state.ahead = (segment, offset), ((-1, ""), 0), None
                    state.receiver.rewind()
                    continue
                return block.offset - offset if block.segment == segment else 2**20
            self.counts.dropped += 1
            self._use_up(state)

    async def _receive(self, state: _Stream, wait_s: float) -> None:
        """Take the next block if it comes in time; a broker that hangs is waited for aside. Raises UnreachableError."""
        if state.receiving is None:
            state.receiving = asyncio.create_task(state.receiver.next(RECEIVE_S))
        if (await asyncio.wait({state.receiving}, timeout=wait_s))[0]:
            task, state.receiving = state.receiving, None
            if (block := task.result()) is not None:
                state.ahead, state.is_behind = block, False
                self._remember(state)

    def _remember(self, state: _Stream) -> None:
        """Keep the header of the newest block's segment."""
        if (block := state.ahead) is not None and block.header and block.segment not in state.headers:
            state.headers[block.segment] = block.header
            while len(state.headers) > HEADERS_MAX:
                state.headers.popitem(last=False)

    def _use_up(self, state: _Stream) -> None:
        if (block := state.ahead) is not None:
            state.passed = max(state.passed, (order_of(block.segment), block.end))
            state.ahead = None


def _version(header: bytes) -> int:
    try:
        return version_of(header)
    except CorruptionError:
        return 0
