"""Receiver: the blocks of one stream out of the broker, in the order in which they are stored there.

Asks for one block at a time, or for a megabyte of those that wait there, so nothing piles up here, and keeps no state
at the broker: whoever begins again begins with the oldest block, and drops what the ledger has. Must not know what a
block is for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from ingest.errors import CorruptionError
from ingest.transport.broker.blocks import Block, decode_block, stream_of, subject_of
from ingest.transport.broker.link import Link, api, js_errors, translated
from ingest.transport.segments import UnreachableError

log = logging.getLogger(__name__)

FORGOTTEN_S = 30.0  # the broker forgets a reader that has not asked for so long
AT_ONCE_MAX = 16  # blocks of one request, if so many wait: a request for each would slow down whoever catches up
SILENT_S = 4.0  # without a block for so long, the reader at the broker is looked for: its node may hang


class Receiver:
    """The blocks of a stream.

    Attributes
    ----------
    damaged
        Messages that were no whole block.
    """

    def __init__(self, link: Link, collector: str, stream: str) -> None:
        self.damaged = 0
        self._link, self._collector, self._stream = link, collector, stream
        self._subscription: Any = None
        self._sequence = 0  # of the last message received
        self._received: deque[Any] = deque()
        self._at_once = 1  # blocks that the next request asks for
        self._heard_s = 0.0  # when the reader at the broker answered last, by the loop's clock

    def rewind(self) -> None:
        """Begin again with the oldest block."""
        self._sequence = 0
        self._subscription = None
        self._received.clear()

    async def next(self, wait_s: float) -> Block | None:
        """Return the next whole block; None: there is none within the time. Raises UnreachableError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            message = await self._message(max(deadline - loop.time(), 0.05))
            if message is None:
                return None
            self._sequence = message.metadata.sequence.stream
            try:
                block = decode_block(message.data)
            except CorruptionError as exc:
                self.damaged += 1
                log.warning("block is damaged, its bytes are fetched elsewhere stream=%s error=%s", self._stream, exc)
                continue
            if (block.collector, block.stream) == (self._collector, self._stream):
                return block
            self.damaged += 1

    async def close(self) -> None:
        """Forget the reader at the broker, which forgets it by itself otherwise."""
        self._subscription = None

    async def _message(self, wait_s: float) -> Any:
        if self._received:
            return self._received.popleft()
        if self._subscription is None:
            await self._subscribe()
        await self._link.client()  # raises while the connection is away
        try:
            with translated():
                self._received.extend(await self._subscription.fetch(self._at_once, timeout=wait_s))
        except js_errors.APIError as exc:
            self._subscription = None
            raise UnreachableError(f"broker has forgotten the reader: {exc.description or exc.code}") from exc
        except UnreachableError as exc:
            if not isinstance(exc.__cause__, TimeoutError | asyncio.TimeoutError):
                self._subscription = None
                raise
            await self._look_for_the_reader()
            return None
        self._heard_s = asyncio.get_running_loop().time()
        self._at_once = min(max(self._received[-1].metadata.num_pending, 1), AT_ONCE_MAX)
        return self._received.popleft()

    async def _look_for_the_reader(self) -> None:
        """Forget the reader at the broker if it does not answer: another one may be on a node that does."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._heard_s < SILENT_S:
            return
        try:
            with translated():
                await self._subscription.consumer_info()
        except (js_errors.APIError, UnreachableError) as exc:
            self._subscription = None
            raise UnreachableError(f"reader at the broker does not answer: {exc}") from exc
        self._heard_s = now_s

    async def _subscribe(self) -> None:
        context, name = await self._link.streams(), stream_of(self._collector)
        try:
            with translated():
                state = (await context.stream_info(name)).state
                if state.last_seq < self._sequence:  # the stream was deleted and created again
                    self._sequence = 0
                config = api.ConsumerConfig(
                    ack_policy=api.AckPolicy.NONE,
                    deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=self._sequence + 1,
                    inactive_threshold=FORGOTTEN_S,
                    mem_storage=True,
                    num_replicas=1,
                )
                self._subscription = await context.pull_subscribe(
                    subject_of(self._collector, self._stream), stream=name, config=config
                )
                self._heard_s, self._at_once = asyncio.get_running_loop().time(), 1
        except js_errors.APIError as exc:
            raise UnreachableError(
                f"broker has no stream {name!r} yet: does `tickline collect --publish` run for {self._collector!r}?"
            ) from exc
