"""Routes of the health, and what is here."""

from __future__ import annotations

from importlib import metadata

from ingest.live.http.described import answers
from ingest.live.http.documentation import DOCS, OPENAPI
from ingest.live.http.routes import Request, Response, Routes, answered
from ingest.live.ingestion import Ingestion
from ingest.live.observe.health import health
from ingest.live.status import is_connected, not_ready


def add_health(routes: Routes, ingestion: Ingestion) -> None:
    """Add the routes."""

    @routes.add("GET", "/", "What is here", tag="health", responses=answers("Root"))
    async def root(_: Request) -> Response:
        return answered(
            {
                "name": "Tickline",
                "version": metadata.version("tickline"),
                "collector": ingestion.streams[0].settings.collector,
                "docs": DOCS,
                "openapi": OPENAPI,
                "endpoints": [
                    {"method": one.method, "path": one.path, "summary": one.summary} for one in routes if one.summary
                ],
            }
        )

    @routes.add(
        "GET",
        "/health",
        "Whether all data that should flow does; 503 if not",
        tag="health",
        responses=answers("Health", unhealthy=True),
    )
    async def whole(_: Request) -> Response:
        found = health(ingestion) | {"paper_trading": False, "websocket_connected": is_connected(ingestion)}
        return answered(found, status=200 if found["status"] == "healthy" else 503)

    @routes.add(
        "GET",
        "/health/live",
        "Whether the process answers: always, if it can",
        tag="health",
        responses=answers("Live"),
    )
    async def live(_: Request) -> Response:
        return answered({"status": "alive"})

    @routes.add(
        "GET",
        "/health/ready",
        "Whether what is received is recorded and stored; 503 if not",
        tag="health",
        responses=answers("Ready", unhealthy=True),
    )
    async def ready(_: Request) -> Response:
        reasons = not_ready(ingestion)
        found = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return answered(found, status=503 if reasons else 200)
