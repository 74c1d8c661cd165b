"""Remote source: the records of one stream out of a `SegmentSource`, in order, for the consumer.

Fetches ahead of the consumer, a few megabytes at most. Each record is checked by its CRC before it is handed on. An
answer that does not come, is short or altered is asked for again with a backoff, for as long as it takes; bytes that
are damaged where they are stored are asked for a few times more, and then skipped as the reader of a file does.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable

from ingest.backoff import backoff_s
from ingest.errors import CorruptionError, JournalError
from ingest.journal.folder import HEADER_BYTES_MAX
from ingest.journal.format import PAYLOAD_BYTES_MAX, decode_segment_header, parse_records
from ingest.model.records import Position, Record, order_of
from ingest.transport.segments import (
    PIECE_BYTES_MAX,
    Listing,
    SegmentGoneError,
    SegmentInfo,
    SegmentSource,
    UnreachableError,
)

log = logging.getLogger(__name__)

AHEAD_BYTES_MAX = 4 * 2**20  # of records that the consumer has not taken
WAIT_S = 5.0  # for bytes of an open segment
NEXT_S = 0.25  # between two looks for the segment after a closed one
FIRST_S, MAX_S = 0.1, 5.0  # waits after failures
ASK_BYTES_MIN = 2**12
DAMAGED_MAX = 3  # times that damaged bytes are asked for again
RECORD_BYTES_MAX = PAYLOAD_BYTES_MAX + 64


class RemoteSource:
    """A `Source` of one stream.

    Parameters
    ----------
    collector, stream
        Names that the segments must have.
    source
        Where they are.
    arrived
        Called when there are more records.

    Attributes
    ----------
    segment
        Name of the segment of the records that `read` returned last.
    error
        Why nothing comes at present; "": all is well.
    corrupt_bytes
        Bytes that were skipped because they are damaged where they are stored.
    lag_bytes
        Bytes of the collector's list that are not fetched yet.
    """

    def __init__(self, collector: str, stream: str, source: SegmentSource, arrived: Callable[[], None]) -> None:
        self.segment = ""
        self.error = ""
        self.corrupt_bytes = 0
        self.lag_bytes = 0
        self._collector, self._stream, self._source, self._arrived = collector, stream, source, arrived
        self._at = Position("", 0)  # where the next byte is fetched
        self._rest = b""  # fetched before it, and not a whole record yet
        self._ready: deque[tuple[str, Record]] = deque()
        self._ready_bytes = 0
        self._room = asyncio.Event()
        self._is_over = False
        self._failures = 0
        self._ask_bytes = PIECE_BYTES_MAX  # less after failures: a bad line may carry no large answer whole
        self._rng = random.Random()  # noqa: S311  jitter is not a secret

    @property
    def finished(self) -> bool:
        """True once no more records will come."""
        return self._is_over and not self._ready

    def read(self, bytes_max: int) -> list[Record]:
        """Return the next records of one segment, [] if there are none at present."""
        records: list[Record] = []
        size = 0
        while self._ready and size < bytes_max:
            segment, record = self._ready[0]
            if records and segment != self.segment:
                break
            self.segment = segment
            records.append(record)
            size += len(record.payload)
            self._ready.popleft()
        self._ready_bytes -= size
        self._room.set()
        return records

    def left_bytes(self) -> int:
        """Return about how many bytes have not been read yet."""
        return self.lag_bytes + self._ready_bytes

    def seek(self, position: Position | None) -> None:
        """Continue at a position; None is the oldest record. Call it before `run`."""
        self._ready.clear()
        self._ready_bytes, self._rest = 0, b""
        self._at = position or Position("", 0)
        self.segment = self._at.segment

    def stop(self) -> None:
        """Let it end once the records that were fetched are read."""
        self._is_over = True
        self._arrived()

    def close(self) -> None:
        """Do nothing: it has no files."""

    async def run(self) -> None:
        """Fetch until cancelled.

        Raises
        ------
        VersionError
            If a newer program wrote the next segment.
        JournalError
            If the segment is that of another collector or stream.
        """
        while True:
            try:
                if (info := await self._next_segment()) is not None:
                    await self._segment(info)
                self._is_well()
            except SegmentGoneError as exc:
                log.warning("segment is gone, looking for the next one stream=%s error=%s", self._stream, exc)
                await asyncio.sleep(NEXT_S)
            except UnreachableError as exc:
                await self._wait_after(exc)

    async def _next_segment(self) -> SegmentInfo | None:
        """Return the segment to go on with; None: there is none yet, after a wait."""
        listing = await self._source.streams()
        segments = segments_in(listing, self._collector, self._stream)
        ahead = [one for one in segments if order_of(one.name) >= order_of(self._at.segment)]
        if not ahead:
            self.lag_bytes = 0
            await asyncio.sleep(NEXT_S)
            return None
        if ahead[0].name != self._at.segment:
            self._at, self._rest = Position(ahead[0].name, 0), b""
        self.lag_bytes = max(sum(one.size for one in ahead) - self._at.offset, 0)
        return ahead[0]

    async def _segment(self, info: SegmentInfo) -> None:
        """Fetch a segment to its end."""
        begins = await self._header(info)
        if begins is None:
            return
        if not self._at.offset:
            self._at = Position(info.name, begins)
        damaged = 0
        while True:
            await self._until_room()
            piece = await self._source.piece(
                self._stream,
                info.name,
                self._at.offset + len(self._rest),
                bytes_max=self._ask_bytes,
                wait_s=WAIT_S,
            )
            self._ask_bytes = min(2 * self._ask_bytes, PIECE_BYTES_MAX)
            self._is_well()
            fetched = self._at.offset + len(self._rest) + len(piece.data)
            is_last = piece.is_closed and fetched >= piece.end
            data = self._rest + piece.data
            parsed = parse_records(data, self._at.offset, final=is_last)
            if parsed.corrupt_bytes and damaged < DAMAGED_MAX:
                damaged += 1
                self._rest = b""
                log.warning(
                    "bytes are damaged, asking again stream=%s segment=%s at=%d", self._stream, *_place(self._at)
                )
                await asyncio.sleep(FIRST_S)
                continue
            damaged = 0
            if parsed.corrupt_bytes:
                self.corrupt_bytes += parsed.corrupt_bytes
                log.error(
                    "journal bytes skipped stream=%s segment=%s after=%d bytes=%d",
                    self._stream,
                    *_place(self._at),
                    parsed.corrupt_bytes,
                )
            self._take(info.name, parsed.records)
            self._rest = data[parsed.consumed :]
            self._at = Position(info.name, self._at.offset + parsed.consumed)
            self.lag_bytes = max(piece.end - fetched, 0) if not is_last else 0
            if is_last:
                self._at, self._rest = Position(info.name + "~", 0), b""  # after it, before any other
                return

    async def _header(self, info: SegmentInfo) -> int | None:
        """Check the header of a segment; return where its first record begins; None: it is skipped, or not there yet.

        It is read even if the segment is continued: it says which version the records have.
        """
        data = b""
        for attempt in range(DAMAGED_MAX + 1):
            piece = await self._source.piece(
                self._stream,
                info.name,
                0,
                bytes_max=HEADER_BYTES_MAX if attempt else ASK_BYTES_MIN,
                wait_s=0.0 if attempt else WAIT_S,
            )
            data = piece.data
            try:
                header, begins = decode_segment_header(data, info.name)
            except CorruptionError as exc:
                if not piece.is_closed and not data:
                    return None
                if attempt < DAMAGED_MAX:
                    await asyncio.sleep(FIRST_S)
                    continue
                if not piece.is_closed:
                    raise UnreachableError(f"{exc}: waiting for it to be whole") from exc
                self.corrupt_bytes += piece.end
                log.error("journal bytes skipped stream=%s segment=%s bytes=%d", self._stream, info.name, piece.end)
                self._at, self._rest = Position(info.name + "~", 0), b""
                return None
            if (header.collector, header.stream) != (self._collector, self._stream):
                raise JournalError(
                    f"segment {info.name!r} is of collector {header.collector!r} stream {header.stream!r}, not of "
                    f"{self._collector!r} stream {self._stream!r}: remove it from the collector's journal"
                )
            return begins
        return None

    def _take(self, segment: str, records: list[Record]) -> None:
        if records:
            self._ready.extend((segment, record) for record in records)
            self._ready_bytes += sum(len(record.payload) for record in records)
            self._arrived()

    async def _until_room(self) -> None:
        while self._ready_bytes >= AHEAD_BYTES_MAX:
            self._room.clear()
            await self._room.wait()

    def _is_well(self) -> None:
        if self._failures:
            log.info("collector is back collector=%s stream=%s", self._collector, self._stream)
        self._failures, self.error = 0, ""

    async def _wait_after(self, error: UnreachableError) -> None:
        self._failures += 1
        self._ask_bytes = max(self._ask_bytes // 4, ASK_BYTES_MIN)
        if str(error) != self.error:
            log.warning(
                "journal cannot be fetched, trying again collector=%s stream=%s error=%s",
                self._collector,
                self._stream,
                error,
            )
        self.error = str(error)
        await asyncio.sleep(backoff_s(self._failures, self._rng, first_s=FIRST_S, max_s=MAX_S))


def segments_in(listing: Listing, collector: str, stream: str) -> tuple[SegmentInfo, ...]:
    """Return the segments of a stream in a list. Raises UnreachableError if the list is another collector's."""
    if listing.collector != collector:
        raise UnreachableError(f"collector is {listing.collector!r} now, not {collector!r}: see its TICKLINE_COLLECTOR")
    return listing.streams.get(stream, ())


def _place(position: Position) -> tuple[str, int]:
    return position.segment, position.offset
