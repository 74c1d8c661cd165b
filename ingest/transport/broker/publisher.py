"""Publisher: a collector's journal as blocks to the broker, at least once and in order, behind the journal.

Runs on a thread and an event loop of its own and reads only what an fsync has covered, so it delays no frame; while the
broker is away or full, blocks wait where they are, in the journal. Its cursor is the last block in the broker's stream:
that cannot disagree with what is there. If the stream was lost, it begins again where the ledger ends.
Each block names the sequence of the block before it, so that of two processes of one name only one can publish.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ingest.backoff import backoff_s
from ingest.errors import CorruptionError, JournalError, TicklineError, VersionError
from ingest.journal.folder import HEADER_BYTES_MAX
from ingest.journal.format import decode_segment_header
from ingest.model.records import SEGMENT_NAME, Position, order_of
from ingest.transport.assignment import Assignee
from ingest.transport.broker.blocks import (
    BLOCK_BYTES_MAX,
    Block,
    committed_subject,
    decode_block,
    stream_of,
    subject_of,
    universe_subject,
)
from ingest.transport.broker.keys import answered
from ingest.transport.broker.link import WRONG_SEQUENCE, BrokerSettings, Link, js_errors, translated
from ingest.transport.cursor import Cursor
from ingest.transport.own_loop import OwnLoop
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.transport.served_journal import ServedJournal, note_committed

log = logging.getLogger(__name__)

BLOCK_MS = 20  # a block with less than the most bytes follows the one before after this long
LOOK_S = 0.25  # between two looks for bytes that nobody announced, such as those of earlier runs
PUBLISH_S = 5.0  # time limit of an acknowledgement
PURGE_S = 5.0  # between two removals of what is committed
SENT_MAX = 100_000  # blocks that are remembered until they are committed: 6 GiB; older ones go with younger ones
FIRST_S, MAX_S = 0.1, 2.0  # waits after failures
STOP_S = 2.0
ID, EXPECTED = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"


class OtherPublisherError(JournalError):
    """Another process publishes under this collector's name."""


@dataclass(slots=True)
class Published:
    """One stream, as far as it is published; `sequence` is that of its last block."""

    at: Position = field(default_factory=lambda: Position("", 0))
    sequence: int = 0
    blocks: int = 0
    bytes: int = 0
    repeated: int = 0  # the broker had them already
    error: str = ""
    failed_s: float = 0.0  # since when, by the monotonic clock
    sent: deque[tuple[Position, int]] = field(default_factory=lambda: deque(maxlen=SENT_MAX))  # ends, sequences
    purged: int = 0  # sequence before which everything was removed


class Publisher(OwnLoop):
    """Publish a journal until closed.

    Parameters
    ----------
    journal, cursor
        What is published, and where the committed end is noted.
    settings
        The broker.
    assignee
        Answers writers that ask for the keys, and takes others; None: nobody does.

    Attributes
    ----------
    streams
        What was published of each stream.
    error
        Why nothing can be published of any stream; "": see the streams.
    """

    def __init__(
        self, journal: ServedJournal, cursor: Cursor, settings: BrokerSettings, assignee: Assignee | None = None
    ) -> None:
        super().__init__("publisher")
        settings.check()
        self.streams = {name: Published() for name in sorted(journal.names)}
        self.error = ""
        self._failed_s = 0.0
        self._journal, self._cursor, self._assignee = journal, cursor, assignee
        self._link = Link(settings, journal.collector)
        self._rng = random.Random()  # noqa: S311  jitter is not a secret

    def close(self) -> None:
        """Publish what is synced, but for a moment only; the rest goes with the next start."""
        self.stop(2 * STOP_S)
        self._journal.close()

    def account(self) -> dict[str, Any]:
        """Return counters, for the status."""
        return {
            "error": self.error or None,
            "streams": {
                name: {
                    "published": f"{one.at.segment}:{one.at.offset}" if one.at.segment else None,
                    "blocks": one.blocks,
                    "bytes": one.bytes,
                    "repeated": one.repeated,
                    "waiting": len(one.sent),
                    "error": one.error or None,
                }
                for name, one in self.streams.items()
            },
        }

    def errors(self) -> dict[str, tuple[str, float]]:
        """Return why streams are not published at present, and for how long, seconds, by name; none: all is well."""
        now_s = time.monotonic()
        return {
            name: (self.error or one.error, now_s - (self._failed_s if self.error else one.failed_s))
            for name, one in self.streams.items()
            if self.error or one.error
        }

    def _failed(self, text: str) -> None:
        self.error, self._failed_s = text, time.monotonic()

    async def _work(self) -> None:
        tasks = [asyncio.create_task(self._keep(name)) for name in self.streams]
        tasks.append(asyncio.create_task(self._listen()))
        try:
            await self._stopping.wait()
            self._wake()
            await asyncio.wait(tasks[:-1], timeout=STOP_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._link.close()

    async def _keep(self, name: str) -> None:
        """Publish one stream until the end; begin again after each failure where the broker is."""
        failures, state = 1, self.streams[name]
        while True:
            try:
                await self._link.make_stream(self._journal.collector)
                await self._resume(name, state)
                if await self._follow(name, state):
                    return
            except SegmentGoneError:  # the ledger has it: on with the next one
                state.at = Position(state.at.segment + "~", 0)
                continue
            except TicklineError as exc:
                error = str(exc)
            except js_errors.APIError as exc:
                if exc.err_code == WRONG_SEQUENCE:  # an acknowledgement was lost, or the stream is new: look, and go on
                    await self._pause(FIRST_S)
                    continue
                error = f"broker refuses: {exc.description} ({exc.err_code})"
            except OSError as exc:
                error = f"journal cannot be read: {exc.strerror}"
            if error != state.error:
                log.warning("journal is not published, trying again stream=%s error=%s", name, error)
            if not state.error:
                failures, state.failed_s = 0, time.monotonic()
            failures, state.error = failures + 1, error
            if self._stopping.is_set():
                return
            await self._pause(backoff_s(failures, self._rng, first_s=FIRST_S, max_s=MAX_S))

    async def _resume(self, name: str, state: Published) -> None:
        """Find where the broker is: behind its last block of this stream, or where the ledger ends."""
        collector = self._journal.collector
        context = await self._link.streams()
        try:
            with translated():
                last = await context.get_last_msg(stream_of(collector), subject_of(collector, name))
        except js_errors.NotFoundError:
            last = None
        sequence = last.seq if last is not None else 0
        try:
            block = decode_block(last.data or b"") if last is not None else None
        except CorruptionError as exc:
            log.warning("last block at the broker is damaged stream=%s error=%s", name, exc)
            block = None
        committed = self._cursor.committed(name)
        begins = committed or Position("", 0)
        if block is not None:
            begins = max(begins, await asyncio.to_thread(self._end_of, name, block))
        if (begins, sequence) != (state.at, state.sequence):
            state.at, state.sequence, state.purged = begins, sequence, 0
            state.sent.clear()
            if block is not None:
                state.sent.append((begins, sequence))

    def _end_of(self, name: str, block: Block) -> Position:
        """Return the end of the broker's last block, if it is of this journal.

        Raises
        ------
        OtherPublisherError
            If this journal never had it.
        """
        end = Position(block.segment + ("~" if block.is_last else ""), block.end)
        listed = [one.name for one in self._journal.listing().streams.get(name, ())]
        if listed and order_of(block.segment) < order_of(listed[0]):
            return end  # it was committed and deleted
        try:
            piece = self._journal.piece(name, block.segment, block.offset, max(len(block.data), 1))
        except SegmentGoneError:
            piece = None
        if piece is None or piece.data[: len(block.data)] != block.data:
            raise OtherPublisherError(
                f"another process publishes as collector {block.collector!r}, up to {block.segment}:{block.end} of "
                f"stream {name!r}: give each its own TICKLINE_COLLECTOR"
            )
        return end

    async def _follow(self, name: str, state: Published) -> bool:
        """Publish what is synced, as it comes; return True at the end of the process, when nothing is left."""
        header: tuple[str, bytes] = ("", b"")
        purge_at = 0.0
        while True:
            moved, began = self._moved, time.monotonic()
            if began >= purge_at:
                purge_at = began + PURGE_S
                await self._purge(name, state)
            block, header = await asyncio.to_thread(self._next, name, state.at, header)
            if block is not None:
                await self._publish(state, block)
            elif self._stopping.is_set():
                return True
            if state.error:
                log.info("stream is published again stream=%s", name)
                state.error = ""
            if block is None:
                try:
                    async with asyncio.timeout(LOOK_S):
                        await moved.wait()
                except TimeoutError:
                    pass
            elif len(block.data) < BLOCK_BYTES_MAX:
                await asyncio.sleep(max(began + BLOCK_MS / 1000 - time.monotonic(), 0))

    def _next(self, name: str, at: Position, header: tuple[str, bytes]) -> tuple[Block | None, tuple[str, bytes]]:
        """Return the block at a position and the header of its segment; None: nothing more is synced."""
        segment, offset = at.segment, at.offset
        if not SEGMENT_NAME.fullmatch(segment):
            segments = [one.name for one in self._journal.listing().streams.get(name, ())]
            ahead = [one for one in segments if order_of(one) >= order_of(segment)]
            if not ahead:
                return None, header
            segment, offset = ahead[0], 0
        if header[0] != segment:
            begin = self._journal.piece(name, segment, 0, HEADER_BYTES_MAX)
            try:
                _, size = decode_segment_header(begin.data, segment)
                header = segment, begin.data[:size]
            except CorruptionError:
                if not begin.is_closed:
                    return None, header  # its first bytes are not synced yet
                header = segment, b""  # the reader will see that, too
            except VersionError:
                header = segment, b""
        piece = self._journal.piece(name, segment, offset, BLOCK_BYTES_MAX)
        is_last = piece.is_closed and offset + len(piece.data) >= piece.end
        if not piece.data and not is_last:
            return None, header
        return Block(self._journal.collector, name, segment, header[1], offset, piece.data, is_last), header

    async def _publish(self, state: Published, block: Block) -> None:
        """Publish a block behind the one before; an unknown outcome is tried again, and the broker knows it then."""
        headers = {ID: block.message_id, EXPECTED: str(state.sequence)}
        context = await self._link.streams()
        subject = subject_of(block.collector, block.stream)
        with translated():
            answer = await context.publish(subject, block.encode(), timeout=PUBLISH_S, headers=headers)
        state.repeated += bool(answer.duplicate)
        state.sequence = max(state.sequence, answer.seq)  # a repetition may lie before our last block
        state.at = Position(block.segment + ("~" if block.is_last else ""), block.end)
        state.sent.append((state.at, state.sequence))
        state.blocks += 1
        state.bytes += len(block.data)

    async def _purge(self, name: str, state: Published) -> None:
        """Remove the blocks that the ledger has from the broker, all but the last one, which is our cursor."""
        if (committed := self._cursor.committed(name)) is None:
            return
        until = 0
        while state.sent and not committed < state.sent[0][0]:
            until = state.sent.popleft()[1]
        if not until:
            return
        if not state.sent:
            state.sent.append((state.at, state.sequence))
        if until > state.purged:
            context, collector = await self._link.streams(), self._journal.collector
            with translated():
                await context.purge_stream(stream_of(collector), seq=until, subject=subject_of(collector, name))
            state.purged = until

    async def _listen(self) -> None:
        """Hear what writers say, for as long as the connection lives; it comes back by itself."""
        collector, hears = self._journal.collector, [(committed_subject, self._told)]
        if self._assignee is not None:
            hears.append((universe_subject, self._asked))
        while True:
            try:
                client = await self._link.client()
                while hears:
                    subject, heard = hears[0]
                    with translated():
                        await client.subscribe(subject(collector), cb=heard)
                    hears.pop(0)
                await asyncio.sleep(MAX_S)
            except UnreachableError:
                await asyncio.sleep(MAX_S)

    async def _told(self, message: Any) -> None:
        try:
            told = json.loads(message.data)
            stream, database = str(told["stream"]), str(told["database"])
            position = Position(str(told["segment"]), int(told["offset"]))
            is_valid = SEGMENT_NAME.fullmatch(position.segment.removesuffix("~")) and position.offset >= 0
        except (ValueError, TypeError, LookupError):
            is_valid = None
        if not is_valid or not 0 < len(database) <= 200:
            answer = {"error": "it is not {stream, segment, offset, database}"}
        else:
            try:
                await asyncio.to_thread(note_committed, self._journal, self._cursor, stream, position, database)
                answer = {}
            except (TicklineError, OSError) as exc:
                answer = {"error": str(exc)}
        await _respond(message, json.dumps(answer).encode())

    async def _asked(self, message: Any) -> None:
        assert self._assignee is not None
        await _respond(message, await answered(self._assignee, message.data))


async def _respond(message: Any, data: bytes) -> None:
    if message.reply:
        try:
            await message.respond(data)
        except Exception as exc:  # it is asked or told again
            log.debug("writer was not answered error=%s", exc)
