"""Cursor: how far the ledger of a database has a collector's journal, as its writers have told, on disk.

Owns the file `journal/<collector>/committed.json`, and the rule that segments are deleted only by it. A position never
moves back, and only one database may move it: a second one, such as a trial, would delete what the first lacks.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

from ingest.errors import JournalError
from ingest.files import PRIVATE, replace_file
from ingest.model.records import Position

log = logging.getLogger(__name__)

FILE = "committed.json"


class OtherDatabaseError(JournalError):
    """Another database than before says what it has."""


class Cursor:
    """The committed end of each stream. Its methods may be called on any thread.

    Parameters
    ----------
    folder
        Folder of the collector's journal. A file that cannot be read counts as absent: nothing is deleted then until
        a writer has told again.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._stat: tuple[int, int] | None = None  # time and inode of the file that was read
        self._database = ""
        self._positions: dict[str, Position] = {}

    def told_age_s(self) -> float | None:
        """Return how long ago a writer moved it last, seconds; None: never."""
        try:
            return max(time.time() - self._path.stat().st_mtime, 0.0)
        except OSError:
            return None

    def committed(self, stream: str) -> Position | None:
        """Return the committed end of a stream; None: no writer has told it."""
        with self._lock:
            self._read()
            return self._positions.get(stream)

    def database(self) -> str:
        """Return the database that moves it; "": none has."""
        with self._lock:
            self._read()
            return self._database

    def move(self, stream: str, position: Position, database: str) -> Position:
        """Note the committed end of a stream, unless a later one is known; return the one that counts.

        Raises
        ------
        OtherDatabaseError
            If another database moved it before.
        OSError
            If the file cannot be written; nothing has changed then.
        """
        with self._lock:
            self._read()
            if self._database and database != self._database:
                raise OtherDatabaseError(
                    f"journal belongs to database {self._database!r}, not to {database!r}: its segments are deleted "
                    f"when that one has them; if it is given up, remove {FILE!r} from the journal's folder"
                )
            before = self._positions.get(stream)
            if before is not None and not before < position:
                return before
            positions = self._positions | {stream: position}
            stored = {"database": database, "streams": {name: list_of(one) for name, one in positions.items()}}
            replace_file(self._path, json.dumps(stored).encode(), mode=PRIVATE)
            self._read()
            return position

    def _read(self) -> None:
        """Read the file if it has changed: a writer on this machine may write it too."""
        try:
            stat = self._path.stat()
            if self._stat == (found := (stat.st_mtime_ns, stat.st_ino)):
                return
            stored = json.loads(self._path.read_text(encoding="utf-8"))
            positions = {str(name): Position(str(one[0]), int(one[1])) for name, one in stored["streams"].items()}
            self._database, self._positions, self._stat = str(stored["database"]), positions, found
        except FileNotFoundError:
            self._database, self._positions, self._stat = "", {}, None
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as exc:
            log.warning("committed end is unreadable, nothing is deleted path=%s error=%s", self._path, exc)
            self._database, self._positions, self._stat = "", {}, None


def list_of(position: Position) -> list[str | int]:
    """Return a position as plain values."""
    return [position.segment, position.offset]
