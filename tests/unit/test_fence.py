"""A background task that fails begins again, is counted and said; the others never hear of it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ingest.errors import FeedError
from ingest.live.fence import SHOWN_S, Fence
from ingest.time_source import TimeSource


class Turned(TimeSource):
    """A clock that goes on when somebody waits."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "error", [RuntimeError("ours"), FeedError("the vendor's"), RecursionError(), OSError(28, "full")]
)
def test_task_that_fails_begins_again_and_is_said(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    clock = Turned()
    fence = Fence(clock)
    errors = [error] * 3

    async def work() -> None:
        if errors:
            raise errors.pop()

    with caplog.at_level(logging.ERROR):
        asyncio.run(fence.keep("bars", work))
    assert fence.failures == {"bars": 3} and len(caplog.records) == 3
    assert all(bool(record.exc_info) is not isinstance(error, FeedError) for record in caplog.records)
    assert fence._errors.of("bars").account()["state"] == "over"  # type: ignore[index]
    assert fence.failed()["bars"].startswith(type(error).__name__)
    clock.at_s += SHOWN_S
    assert fence.failed() == {} and fence.failures == {"bars": 3}


def test_task_that_is_cancelled_ends() -> None:
    async def run() -> None:
        task = asyncio.create_task(Fence(TimeSource()).keep("watch", lambda: asyncio.sleep(3600)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
