"""Routes of the health, and what is here."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from ingest.live.http.described import answers
from ingest.live.http.documentation import DOCS, OPENAPI, document
from ingest.live.ingestion import Ingestion
from ingest.live.observe.health import health
from ingest.live.status import is_connected, not_ready


def add_health(app: FastAPI, ingestion: Ingestion) -> None:
    """Add the routes to an application."""

    @app.get("/", summary="What is here", tags=["health"], responses=answers("Root"))
    async def root() -> JSONResponse:
        return JSONResponse(
            {
                "name": "Tickline",
                "version": metadata.version("tickline"),
                "collector": ingestion.streams[0].settings.collector,
                "docs": DOCS,
                "openapi": OPENAPI,
                "endpoints": _endpoints(document(app)),
            }
        )

    @app.get(
        "/health",
        summary="Whether all data that should flow does; 503 if not",
        tags=["health"],
        responses=answers("Health", unhealthy=True),
    )
    async def whole() -> JSONResponse:
        found = health(ingestion) | {"paper_trading": False, "websocket_connected": is_connected(ingestion)}
        return JSONResponse(found, status_code=200 if found["status"] == "healthy" else 503)

    @app.get(
        "/health/live",
        summary="Whether the process answers: always, if it can",
        tags=["health"],
        responses=answers("Live"),
    )
    async def live() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.get(
        "/health/ready",
        summary="Whether what is received is recorded and stored; 503 if not",
        tags=["health"],
        responses=answers("Ready", unhealthy=True),
    )
    async def ready() -> JSONResponse:
        reasons = not_ready(ingestion)
        found = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(found, status_code=503 if reasons else 200)


def _endpoints(document: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"method": method.upper(), "path": path, "summary": described["summary"]}
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
