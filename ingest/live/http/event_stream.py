"""Event stream: send the events of one client over its connection, and cut off a client that does not read."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingest.live.broadcast.client import STALLED_S, StreamClient
from ingest.live.http.protocol import CONNECTION, BoundedProtocol

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]


class EventStream(Response):
    """An answer: the events of a client, until either side ends."""

    media_type = "text/event-stream"

    def __init__(self, client: StreamClient, status_code: int = 200) -> None:  # FastAPI documents the default
        super().__init__(status_code=status_code)
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events."""
        connection: BoundedProtocol | None = scope.get("state", {}).get(CONNECTION)
        if connection is not None:
            connection.allow_endless()
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        gone = asyncio.create_task(_gone(receive))
        gone.add_done_callback(lambda _: self._client.end())
        try:
            async with aclosing(self._client.events()) as events:
                async for text in events:
                    async with asyncio.timeout(STALLED_S):
                        await send({"type": "http.response.body", "body": text, "more_body": True})
                    self._client.sent(len(text))
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._client.cut_off(f"it has read nothing for {STALLED_S:g} s")
            if connection is not None:
                connection.abort()
                await gone  # otherwise uvicorn takes the answer for unfinished
        finally:
            gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
