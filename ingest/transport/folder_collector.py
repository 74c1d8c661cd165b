"""Folder collector: the segments of a collector whose journal is on this machine, by its files.

As `start` does, it reads what the kernel has, whether an fsync has covered it or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.errors import JournalError
from ingest.journal.folder import SUFFIX, is_stream, segment_name, segments_of
from ingest.model.records import Position
from ingest.transport.cursor import Cursor
from ingest.transport.segments import Listing, Piece, UnreachableError
from ingest.transport.served_journal import ServedJournal

POLL_S = 0.02  # another process does not say when it has written


class _Written:
    """One stream as another process writes it: the newest segment may grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def segments(self) -> list[Path]:
        return segments_of(self.folder)

    @property
    def segment(self) -> str:
        paths = self.segments()
        return segment_name(paths[-1]) if paths else ""

    @property
    def synced(self) -> Position | None:
        paths = self.segments()
        if not paths or paths[-1].suffix != SUFFIX:
            return None
        try:
            return Position(segment_name(paths[-1]), paths[-1].stat().st_size)
        except FileNotFoundError:  # compressed since
            return None


class _Streams(Mapping[str, _Written]):
    """The streams of a collector's folder; new ones appear by themselves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _names(self) -> list[str]:
        return sorted((path.name for path in self._folder.iterdir() if is_stream(path.name) and path.is_dir()), key=int)

    def __getitem__(self, name: str) -> _Written:
        if name not in self._names():
            raise KeyError(name)
        return _Written(self._folder / name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


class FolderCollector:
    """A `SegmentSource` of a folder `journal/<collector>`."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.tells = True
        self._journal = ServedJournal(folder.name, _Streams(folder))
        self._cursor = Cursor(folder)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the files."""
        self._journal.close()

    async def streams(self) -> Listing:
        """Return what there is; see `SegmentSource`."""
        try:
            return await asyncio.to_thread(self._journal.listing)
        except OSError as exc:
            raise UnreachableError(f"journal {self.name!r} cannot be read: {exc.strerror}") from exc

    async def piece(self, stream: str, segment: str, offset: int, *, bytes_max: int, wait_s: float) -> Piece:
        """Return bytes of a segment; see `SegmentSource`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while True:
            try:
                found = await asyncio.to_thread(self._journal.piece, stream, segment, offset, bytes_max)
            except OSError as exc:
                raise UnreachableError(f"journal {self.name!r} cannot be read: {exc.strerror}") from exc
            if found.data or found.is_closed or loop.time() >= deadline:
                return found
            await asyncio.sleep(POLL_S)

    async def committed(self, stream: str, position: Position, database: str) -> None:
        """Note how far the ledger is; see `SegmentSource`."""
        try:
            await asyncio.to_thread(self._cursor.move, stream, position, database)
        except OSError as exc:
            raise JournalError(f"committed end of {self.name!r} cannot be written: {exc.strerror}") from exc
