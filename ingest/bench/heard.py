"""Tick handler of a bench: note when each tick was heard, in a file of the ingester's home.

Only the ingester loads it, by name, as it loads a user's own handler. A note is seq and epoch nanoseconds, int64.
"""

from __future__ import annotations

import atexit
import struct
import time
from typing import TYPE_CHECKING

from ingest.database.settings import DatabaseSettings, load

if TYPE_CHECKING:
    from ingest.live.tick_handlers import Tick

NOTE = struct.Struct("<qq")
_notes = (load(DatabaseSettings).home / "bench.heard").open("ab")
atexit.register(_notes.close)


async def on_tick(tick: Tick) -> None:
    """Note the tick."""
    _notes.write(NOTE.pack(tick.seq, time.time_ns()))
