"""A collector that publishes into a real broker, and who reads it from there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats

from ingest.journal.folder import segment_name, segments_of
from ingest.journal.writer import JournalWriter
from ingest.model.records import Position, RecordKind
from ingest.transport.assignment import Assignee
from ingest.transport.broker.blocks import stream_of
from ingest.transport.broker.broker_collector import BrokerCollector
from ingest.transport.broker.link import BrokerSettings
from ingest.transport.broker.publisher import Publisher
from ingest.transport.cursor import Cursor
from ingest.transport.segments import Listing, Piece, UnreachableError
from ingest.transport.served_journal import ServedJournal
from tests.unit.journal.journals import T0_US, writer

WITHIN_S = 60.0
DATABASE = "7412/ticks"


class Collector:
    """A collector's journal and its publisher."""

    def __init__(
        self, folder: Path, *urls: str, name: str = "default", assignee: Assignee | None = None, **given: Any
    ) -> None:
        self.folder = folder
        found = segments_of(folder / "1")
        first = 1_000_000 * (1 + len(found)) + 1 if found else 1
        self.journal: JournalWriter = writer(folder / "1", next_seq=first)
        self.cursor = Cursor(folder)
        journal, settings = ServedJournal(name, {"1": self.journal}), BrokerSettings(urls, **given)
        self.publisher = Publisher(journal, self.cursor, settings, assignee)
        self.journal.when_synced = self.publisher.moved
        self.publisher.start()

    @property
    def state(self) -> Any:
        return self.publisher.streams["1"]

    def write(self, count: int, size: int = 300) -> None:
        for number in range(count):
            self.journal.append(RecordKind.FRAME, bytes([number % 251]) * (number % size), T0_US + number)

    def end(self) -> Position:
        path = segments_of(self.folder / "1")[-1]
        return Position(segment_name(path), path.stat().st_size)

    def is_published(self) -> bool:
        return self.state.at == self.end() and not self.state.error

    def close(self) -> None:
        self.journal.close()
        self.publisher.close()

    def bytes(self) -> dict[str, bytes]:
        return {segment_name(path): path.read_bytes() for path in segments_of(self.folder / "1")}


class Files:
    """The collector's own server, without the network: `HttpCollector` asks the same `ServedJournal`."""

    tells = False

    def __init__(self, collector: Collector) -> None:
        self._journal = ServedJournal("default", {"1": collector.journal})
        self.asked = 0

    async def streams(self) -> Listing:
        return self._journal.listing()

    async def piece(self, stream: str, segment: str, offset: int, *, bytes_max: int, wait_s: float) -> Piece:
        self.asked += 1
        return self._journal.piece(stream, segment, offset, bytes_max)

    async def committed(self, stream: str, position: Position, database: str) -> None:
        raise UnreachableError("not told")

    async def close(self) -> None:
        self._journal.close()


class Reader:
    """Reads a stream as `RemoteSource` does: the header of each segment, then on from where it was."""

    def __init__(self, source: BrokerCollector) -> None:
        self.source, self.segments = source, dict[str, bytes]()
        self.at = ("", 0)

    async def read(self, until: Callable[[], bool], *, bytes_max: int = 5_000) -> None:
        """Read until nothing more comes and `until` holds."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                try:
                    if await self._step(bytes_max) or not until():
                        continue
                    return
                except UnreachableError:
                    await asyncio.sleep(0.05)

    async def _step(self, bytes_max: int) -> bool:
        segment, offset = self.at
        if not segment or segment.endswith("~"):
            listed = [one.name for one in (await self.source.streams()).streams.get("1", ()) if one.name > segment]
            if not listed:
                return False
            segment, offset = listed[0], 0
        if not offset:
            offset = len((await self.source.piece("1", segment, 0, bytes_max=10, wait_s=0.2)).data) and 0
        piece = await self.source.piece("1", segment, offset, bytes_max=bytes_max, wait_s=0.1)
        self.segments[segment] = self.segments.get(segment, bytes(offset))[:offset] + piece.data
        end = offset + len(piece.data)
        self.at = (segment + "~", 0) if piece.is_closed and end >= piece.end else (segment, end)
        return bool(piece.data) or self.at[0].endswith("~")


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.005)


def read(collector: Collector, url: str, *, healer: bool = False, start: tuple[str, int] = ("", 0)) -> BrokerCollector:
    """Read all of a journal and compare it."""

    async def run() -> BrokerCollector:
        source = BrokerCollector(BrokerSettings((url,)), "default", Files(collector) if healer else None)
        reader = Reader(source)
        reader.at = start
        try:
            whole = collector.bytes()
            await reader.read(lambda: reader.at[0].startswith(max(whole)))
        finally:
            await source.close()
        for segment, data in reader.segments.items():
            begin = start[1] if segment == start[0] else 0
            assert data[begin:] == whole[segment][begin:], segment
        assert set(reader.segments) == {name for name in whole if name >= start[0]}
        return source

    return asyncio.run(run())


def published(url: str) -> tuple[int, int]:
    """Return how many messages the broker has, and the sequence of the last one."""

    async def run() -> tuple[int, int]:
        client = await nats.connect(url)
        state = (await client.jetstream().stream_info(stream_of("default"))).state
        await client.close()
        return state.messages, state.last_seq

    return asyncio.run(run())
