"""The clock of everything that follows the market: feed, tokens, watchdog and universe.

They use this instead of the machine's clock, so that a test can play a market day in less than a day. Code that waits
for the machine, such as a disk or the database, uses the machine's clock.
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
