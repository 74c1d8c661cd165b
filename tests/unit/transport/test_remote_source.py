"""The records of a stream from elsewhere: those of the files, in order, however bad the line is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from ingest.errors import ConfigError, JournalError, VersionError
from ingest.journal.folder import segment_name, segments_of
from ingest.journal.format import decode_segment_header, encode_segment_header
from ingest.model.records import Position, Record
from ingest.transport import remote_source
from ingest.transport.folder_collector import FolderCollector
from ingest.transport.http_collector import HttpCollector
from ingest.transport.remote_source import RemoteSource
from ingest.transport.segments import Listing, Piece, SegmentSource, UnreachableError
from tests.fault.mangling import Mangler
from tests.unit.journal.journals import fill, read_all, writer
from tests.unit.transport.test_server import TOKEN, Served

SEED = 18


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FIRST_S": 0.002, "MAX_S": 0.02, "NEXT_S": 0.005, "WAIT_S": 0.3}.items():
        monkeypatch.setattr(remote_source, name, value)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A collector's folder, with a stream of several segments."""
    fill(tmp_path / "default" / "1", 400)
    return tmp_path / "default"


@asynccontextmanager
async def reading(
    source: SegmentSource, position: Position | None = None
) -> AsyncIterator[tuple[RemoteSource, asyncio.Task[None]]]:
    """Fetch while the block runs."""
    found = RemoteSource("default", "1", source, lambda: None)
    found.seek(position)
    fetching = asyncio.create_task(found.run())
    try:
        yield found, fetching
    finally:
        fetching.cancel()
        (error,) = await asyncio.gather(fetching, return_exceptions=True)
        if not isinstance(error, asyncio.CancelledError):
            raise error


async def read(source: SegmentSource, count: int, position: Position | None = None) -> list[Record]:
    """Return so many records, asked for a few hundred bytes at a time."""
    records: list[Record] = []
    async with asyncio.timeout(60), reading(source, position) as (found, fetching):
        while len(records) < count and not fetching.done():
            records += found.read(700)
            await asyncio.sleep(0)
        assert found.read(700) == []
        assert not found.corrupt_bytes
    return records


class Changed:
    """A folder whose answers are changed by a function; it may also raise."""

    def __init__(self, folder: Path, change: Callable[[Piece, str, int], Piece]) -> None:
        self._folder, self._change = FolderCollector(folder), change

    async def streams(self) -> Listing:
        return await self._folder.streams()

    async def piece(self, stream: str, segment: str, offset: int, **given: Any) -> Piece:
        return self._change(await self._folder.piece(stream, segment, offset, **given), segment, offset)

    async def committed(self, stream: str, position: Position, database: str) -> None:
        await self._folder.committed(stream, position, database)


def test_records_of_a_folder_come_from_every_position(journal: Path) -> None:
    records = read_all(journal / "1")
    name = segment_name(segments_of(journal / "1")[1])
    of_second = read_all(journal / "1", Position(name, 0))
    assert 0 < len(of_second) < len(records) == 400
    middle = Position(name, of_second[10].end_offset)
    for position, expected in ((None, records), (Position(name, 0), of_second), (middle, of_second[11:])):
        assert asyncio.run(read(FolderCollector(journal), len(expected), position)) == expected


def test_records_come_whole_over_a_line_that_cuts_and_alters(tmp_path: Path) -> None:
    fill(tmp_path / "1", 180)
    served = Served(tmp_path)
    expected = read_all(tmp_path / "1")
    try:
        with Mangler(served.server.port, SEED) as mangler:
            mangler.share = 0.3

            async def over_it() -> list[Record]:
                async with HttpCollector(f"http://127.0.0.1:{mangler.port}", TOKEN) as collector:
                    return await read(collector, len(expected))

            assert asyncio.run(over_it()) == expected
            assert mangler.mangled > 3
    finally:
        served.close()


def test_record_that_is_appended_comes_at_once_and_the_committed_end_arrives(tmp_path: Path) -> None:
    served = Served(tmp_path)

    async def follow() -> None:
        url = f"http://127.0.0.1:{served.server.port}"
        async with HttpCollector(url, TOKEN) as collector, asyncio.timeout(60), reading(collector) as (source, _):
            for number in range(5):
                await asyncio.to_thread(served.journal.append, 1, b"frame %d" % number, 1_765_771_374_837_000)
                while not (records := source.read(700)):
                    await asyncio.sleep(0.002)
                assert [record.payload for record in records] == [b"frame %d" % number]
            end = Position(source.segment, records[-1].end_offset)
            await collector.committed("1", end, "ledger")
            assert served.cursor.committed("1") == end
            with pytest.raises(JournalError, match="refuses: journal belongs to database 'ledger', not to 'trial'"):
                await collector.committed("1", end, "trial")

    asyncio.run(follow())
    served.close()


def test_bytes_that_were_damaged_on_the_way_once_are_read_again(journal: Path) -> None:
    rng, done = random.Random(SEED), set[tuple[str, int]]()

    def alter(piece: Piece, segment: str, offset: int) -> Piece:
        if not piece.data or (segment, offset) in done:
            return piece
        done.add((segment, offset))
        at = rng.randrange(len(piece.data))
        return piece._replace(data=piece.data[:at] + b"\xff" + piece.data[at + 1 :])

    expected = read_all(journal / "1")
    assert asyncio.run(read(Changed(journal, alter), len(expected))) == expected


def test_bytes_that_are_damaged_on_the_disk_are_skipped_as_a_reader_of_the_file_does(journal: Path) -> None:
    path = segments_of(journal / "1")[1]
    data = bytearray(path.read_bytes())
    data[1_000] ^= 0x40
    path.write_bytes(data)
    expected = read_all(journal / "1")
    assert len(expected) == 399

    async def all_of_it() -> None:
        records: list[Record] = []
        async with reading(FolderCollector(journal)) as (source, _), asyncio.timeout(60):
            while len(records) < len(expected):
                records += source.read(10**6)
                await asyncio.sleep(0)
            assert source.corrupt_bytes > 0
        assert records == expected

    asyncio.run(all_of_it())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda data: data.replace(b"JRNL\2", b"JRNL\3"), VersionError, "format version 3.*install a newer tickline"),
        (lambda data: data.replace(b'"default"', b'"another"'), JournalError, "is of collector 'another' stream '1'"),
    ],
)
def test_segment_that_is_not_for_us_is_refused_even_when_it_is_continued(
    journal: Path, change: Callable[[bytes], bytes], error: type[Exception], says: str
) -> None:
    path = segments_of(journal / "1")[1]
    data = path.read_bytes()
    header, begins = decode_segment_header(data, path.name)
    assert encode_segment_header(header) == data[:begins]
    head = change(data[: begins - 4])
    path.write_bytes(head + google_crc32c.value(head).to_bytes(4, "little") + data[begins:])
    for position in (Position(segment_name(path), 0), Position(segment_name(path), begins + 60)):
        with pytest.raises(error, match=says):
            asyncio.run(read(FolderCollector(journal), 1, position))


def test_another_collector_at_the_address_is_no_hole_but_an_error_that_passes(tmp_path: Path) -> None:
    fill(tmp_path / "other" / "1", 3)

    async def look() -> None:
        async with reading(FolderCollector(tmp_path / "other")) as (source, _):
            while not source.error:
                await asyncio.sleep(0.002)
            assert source.error == "collector is 'other' now, not 'default': see its TICKLINE_COLLECTOR"
            assert source.read(700) == []

    asyncio.run(look())


def test_collector_that_is_away_or_another_program_is_said(tmp_path: Path) -> None:
    async def ask(url: str) -> str:
        async with HttpCollector(url, None) as collector:
            with pytest.raises(UnreachableError) as found:
                await collector.streams()
            return str(found.value)

    served = Served(tmp_path, is_local=False)
    try:
        text = asyncio.run(ask(f"http://127.0.0.1:{served.server.port}/"))
        assert "answers 401: token refused: set TICKLINE_COLLECTOR_TOKEN" in text
    finally:
        served.close()
    assert "does not answer" in asyncio.run(ask("http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://192.0.2.1:8791", "would get the token, and send the journal, unencrypted: use https://"),
        ("ftp://127.0.0.1", "is no address: write it as https://host:8791"),
        ("https://user:secret@host", "is no address"),
        ("collector:8791", "is no address"),
    ],
)
def test_address_that_would_give_the_token_away_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        HttpCollector(url, TOKEN)


def test_record_larger_than_a_piece_is_put_together(tmp_path: Path) -> None:
    large = writer(tmp_path / "default" / "1", segment_bytes_max=10**8)
    large.append(1, bytes(range(256)) * 2**13, 1_765_771_374_837_000)
    large.append(1, b"small", 1_765_771_374_837_001)
    large.close()
    found = asyncio.run(read(FolderCollector(tmp_path / "default"), 2))
    assert [len(record.payload) for record in found] == [2**21, 5]
