"""Heartbeats while the next event is waited for, so that a client can tell a busy server from one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any


async def with_heartbeats(
    events: AsyncGenerator[bytes, None], ended: asyncio.Event, beat: Callable[[], bytes], every_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield events, and a heartbeat whenever none has come for a time; the events are closed at the end.

    Parameters
    ----------
    events
        They are not interrupted by a heartbeat.
    ended
        Set when nobody wants more events.
    beat
        Makes a heartbeat.
    every_s
        The time, seconds.
    """
    end = asyncio.ensure_future(ended.wait())
    coming: asyncio.Future[bytes] | None = None
    try:
        while not end.done():
            coming = coming or asyncio.ensure_future(anext(events))
            both: set[asyncio.Future[Any]] = {coming, end}
            await asyncio.wait(both, timeout=every_s, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                return
            if not coming.done():
                yield beat()
                continue
            try:
                text = coming.result()
            except StopAsyncIteration:
                return
            finally:
                coming = None
            yield text
    finally:
        end.cancel()
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await events.aclose()
