"""Route of the event stream: what is asked for, checked before the first event, and the way of events to a client.

A client that does not read is cut off.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ingest.live.broadcast.client import KINDS, STALLED_S, StreamClient
from ingest.live.broadcast.hub import ALL, Hub
from ingest.live.broadcast.position import parsed
from ingest.live.http.described import Keys, answers
from ingest.live.http.protocol import CONNECTION, BoundedProtocol
from ingest.live.http.routes import Receive, Request, Response, Routes, Scope, Send, WrongRequestError, refused
from ingest.live.ingestion import Ingestion
from ingest.model.keys import shown

EVENTS = "text/event-stream"
EXAMPLE = (
    'event: tick\nid: default:5120;c7\ndata: {"columns":["instrument_key",…],"rows":[["NSE_EQ|INE009A01021",…]]}\n\n'
)
ABOUT = (
    "First the last state of each key (snapshot), then what comes (tick, bar, signal). Sent the id of an event as "
    "Last-Event-ID or from, it goes on behind it, or says what was missed. A client that does not read is cut off."
)
CLIENTS_MAX = 40  # of the connections that the API has


HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
POSITION = {
    "name": "last-event-id",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "the same, as a client sends it by itself",
}


class AskedEvents(BaseModel):
    """Parameters of the stream."""

    kinds: Annotated[
        list[Literal["tick", "bar", "signal"]] | None,
        Field(alias="kind", max_length=10, description="tick, if none is given"),
    ] = None
    keys: Keys = None
    since: Annotated[str | None, Field(alias="from", description="position: the id of an event")] = None


def add_stream(routes: Routes, ingestion: Ingestion, hub: Hub) -> None:
    """Add the route."""
    example = {"200": {"description": "events", "content": {EVENTS: {"example": EXAMPLE}}}}

    @routes.add(
        "GET",
        "/api/v1/stream",
        "Ticks, bars and signals as they come: server-sent events, without end",
        description=ABOUT,
        tag="data",
        query=AskedEvents,
        parameters=[POSITION],
        responses=answers("", 404, 422) | example,
    )
    async def stream(request: Request, asked: AskedEvents) -> Response:
        if hub.is_closed:
            return refused(503, "the recording is ending: come back later", {"retry-after": "1"})
        if len(hub.clients) >= CLIENTS_MAX:
            return refused(503, f"{CLIENTS_MAX} programs listen already: end one", {"retry-after": "10"})
        text = request.headers.get("last-event-id") or asked.since
        start = parsed(text) if text else None
        if text and start is None:
            raise WrongRequestError(f"position {shown(text)!r} is not one: send the id of the last event, or none")
        keys = ALL if asked.keys is None else frozenset(await ingestion.keys_to_read(asked.keys))
        return EventStream(StreamClient(hub, frozenset(asked.kinds or KINDS[:1]), keys, start))


class EventStream(Response):
    """An answer: the events of a client, until either side ends."""

    def __init__(self, client: StreamClient) -> None:
        super().__init__(b"")
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
