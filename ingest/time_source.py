"""Time source: what time it is for what waits on the market, and how to wait for it.

The feed, its tokens, the watchdog and the universe ask this and no clock of the machine, so that a day of the market
need not last a day. What waits on the machine, as for a disk or the database, asks the machine.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


def now_us() -> int:
    """Return the machine's time, epoch microseconds."""
    return time.time_ns() // 1000


class TimeSource:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Return the time, epoch microseconds."""
        return now_us()

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await asyncio.sleep(seconds)

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.fromtimestamp(self.now_us() / 1e6, UTC)
