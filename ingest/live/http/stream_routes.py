"""Route of the event stream: what is asked for, checked before the first event."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Header, Query
from starlette.responses import Response

from ingest.live.broadcast.client import KINDS, StreamClient
from ingest.live.broadcast.hub import ALL, Hub
from ingest.live.broadcast.position import parsed
from ingest.live.http.event_stream import EventStream
from ingest.live.http.guard import WrongRequestError, refused
from ingest.live.ingestion import Ingestion
from ingest.model.keys import shown

CLIENTS_MAX = 40  # of the connections that the API has


def add_stream(app: FastAPI, ingestion: Ingestion, hub: Hub) -> None:
    """Add the route to an application."""

    @app.get("/api/v1/stream")
    async def stream(
        kind: Annotated[list[Literal["tick", "bar", "signal"]] | None, Query()] = None,
        key: Annotated[list[str] | None, Query()] = None,
        since: Annotated[str | None, Query(alias="from")] = None,
        last_event_id: Annotated[str | None, Header()] = None,
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
