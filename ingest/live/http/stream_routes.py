"""Route of the event stream: what is asked for, checked before the first event."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Header, Query
from starlette.responses import Response

from ingest.live.broadcast.client import KINDS, StreamClient
from ingest.live.broadcast.hub import ALL, Hub
from ingest.live.broadcast.position import parsed
from ingest.live.http.described import Keys, answers
from ingest.live.http.event_stream import EventStream
from ingest.live.http.guard import WrongRequestError, refused
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


def add_stream(app: FastAPI, ingestion: Ingestion, hub: Hub) -> None:
    """Add the route to an application."""

    @app.get(
        "/api/v1/stream",
        summary="Ticks, bars and signals as they come: server-sent events, without end",
        description=ABOUT,
        tags=["data"],
        response_class=EventStream,
        responses=answers("", 404, 422) | {200: {"description": "events", "content": {EVENTS: {"example": EXAMPLE}}}},
    )
    async def stream(
        kind: Annotated[
            list[Literal["tick", "bar", "signal"]] | None, Query(max_length=10, description="tick, if none is given")
        ] = None,
        key: Keys = None,
        since: Annotated[str | None, Query(alias="from", description="position: the id of an event")] = None,
        last_event_id: Annotated[str | None, Header(description="the same, as a client sends it by itself")] = None,
    ) -> Response:
        if hub.is_closed:
            return refused(503, "the recording is ending: come back later", {"Retry-After": "1"})
        if len(hub.clients) >= CLIENTS_MAX:
            return refused(503, f"{CLIENTS_MAX} programs listen already: end one", {"Retry-After": "10"})
        text = last_event_id or since
        start = parsed(text) if text else None
        if text and start is None:
            raise WrongRequestError(f"position {shown(text)!r} is not one: send the id of the last event, or none")
        keys = ALL if key is None else frozenset(await ingestion.keys_to_read(key))
        return EventStream(StreamClient(hub, frozenset(kind or KINDS[:1]), keys, start))
