"""Fetched stream: the segments of one stream of a collector elsewhere as files, one at a time, for `tickline verify`.

Blocks. Keeps one segment on the disk, in a folder of the caller, and the answers are checked as a writer checks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ingest.errors import JournalError
from ingest.journal.folder import SUFFIX
from ingest.transport.segments import (
    PIECE_BYTES_MAX,
    Piece,
    SegmentGoneError,
    SegmentInfo,
    SegmentSource,
    UnreachableError,
)

TRIES = 4  # of one answer
RETRY_S = 0.5


class FetchedStream:
    """One stream; see `StreamFiles` of the audit.

    Parameters
    ----------
    source, name
        The collector, and the stream of it.
    segments
        As the collector has listed them.
    folder
        Where the file is made.
    run
        Runs a coroutine to its end on the loop of the source.
    """

    def __init__(
        self,
        source: SegmentSource,
        name: str,
        segments: tuple[SegmentInfo, ...],
        folder: Path,
        run: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.name = name
        self._source, self._segments, self._folder, self._run = source, segments, folder, run
        self._path: Path | None = None

    def names(self) -> list[str]:
        """Return the names of the segments, oldest first."""
        return [one.name for one in self._segments]

    def paths(self, name: str) -> list[Path]:
        """Return the file of a segment, after it was fetched; none if it is gone.

        Raises
        ------
        JournalError
            If the collector does not answer.
        """
        path = self._folder / f"{name}{SUFFIX}"
        if path != self._path:
            self.close()
            try:
                self._run(self._fetch(name, path))
            except SegmentGoneError:
                path.unlink(missing_ok=True)
                return []
            self._path = path
        return [path]

    def close(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    async def _fetch(self, name: str, path: Path) -> None:
        offset = 0
        with path.open("wb") as file:
            while True:
                piece = await self._piece(name, offset)
                file.write(piece.data)
                offset += len(piece.data)
                if not piece.data or offset >= piece.end:
                    return

    async def _piece(self, name: str, offset: int) -> Piece:
        tries = 0
        while True:
            try:
                return await self._source.piece(self.name, name, offset, bytes_max=PIECE_BYTES_MAX, wait_s=0.0)
            except UnreachableError as exc:
                tries += 1
                if tries == TRIES:
                    raise JournalError(f"{exc}: run it again when the collector answers") from exc
                await asyncio.sleep(RETRY_S)
