"""Tick handler of a bench: note when each tick was heard, in a file of the ingester's home.

Only the ingester loads it, by name, as it loads a user's own handler. A note is seq and epoch nanoseconds, int64.
"""

from __future__ import annotations

import atexit
import struct
import time
from typing import Protocol

from ingest.database.settings import DatabaseSettings, load

NOTE = struct.Struct("<qq")
_notes = (load(DatabaseSettings).home / "bench.heard").open("ab")
atexit.register(_notes.close)


class Numbered(Protocol):
    """All that is needed of a tick."""

    @property
    def seq(self) -> int:
        """Number of its frame's record in the journal."""


async def on_tick(tick: Numbered) -> None:
    """Note the tick."""
    _notes.write(NOTE.pack(tick.seq, time.time_ns()))
