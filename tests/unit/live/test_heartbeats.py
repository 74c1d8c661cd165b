"""Heartbeats between events: none is lost, and nothing goes on when nobody wants more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ingest.live.broadcast.heartbeats import with_heartbeats


def test_events_come_in_order_with_heartbeats_while_none_comes() -> None:
    async def run() -> list[bytes]:
        go_on = asyncio.Event()

        async def events() -> AsyncGenerator[bytes, None]:
            yield b"1"
            await go_on.wait()
            yield b"2"

        found = []
        async for text in with_heartbeats(events(), asyncio.Event(), lambda: b"beat", 0.001):
            found.append(text)
            if found.count(b"beat") == 3:
                go_on.set()
        return found

    found = asyncio.run(run())
    assert found[:4] == [b"1", b"beat", b"beat", b"beat"] and found[-1] == b"2"
    assert [text for text in found if text != b"beat"] == [b"1", b"2"]


def test_end_and_error_close_the_events() -> None:
    closed = []

    async def events(fails: bool) -> AsyncGenerator[bytes, None]:
        try:
            yield b"1"
            if fails:
                raise ValueError("broken")
            await asyncio.Event().wait()
        finally:
            closed.append(fails)

    async def run(fails: bool) -> list[bytes]:
        ended, found = asyncio.Event(), []
        async for text in with_heartbeats(events(fails), ended, lambda: b"beat", 0.001):
            found.append(text)
            if text == b"beat":
                ended.set()
        return found

    assert asyncio.run(run(False)) == [b"1", b"beat"]
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run(True))
    assert closed == [False, True]
