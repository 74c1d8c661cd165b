"""API: the status over HTTP, and subscriptions at run time, on loopback.

This module is imported when the ingester runs and has a port for it. A request is answered
on the event loop between two batches; nothing of the hot path waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import uvicorn
from fastapi import Body, FastAPI, Query
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ingest.model import MODE_NAMES
from ingest.service import Service
from ingest.status import health, latest_ticks, subscriptions, websocket_status
from sql import query
from sql.database import connect, translate
from sql.errors import StoreError, SubscriptionError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
GAPS_KEPT_S = 10.0  # so often at most the database is asked


class _Gaps:
    """The gaps of today, as the database has them."""

    def __init__(self, url: str, collector: str) -> None:
        self._url, self._collector = url, collector
        self._found: int | None = None
        self._asked_s = -GAPS_KEPT_S

    async def today(self) -> int | None:
        """Return how many there are; None while the database is away."""
        if time.monotonic() - self._asked_s >= GAPS_KEPT_S:
            self._asked_s = time.monotonic()
            try:
                self._found = await asyncio.to_thread(self._count)
            except StoreError:
                self._found = None
        return self._found

    def _count(self) -> int:
        try:
            with connect(self._url, autocommit=True) as connection:
                row = connection.execute(query("gaps_today"), {"collector": self._collector}).fetchone()
        except psycopg.Error as exc:
            raise translate(exc) from exc
        assert row is not None
        return int(row[0])


def make_app(service: Service, url: str) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service
        What it shows and changes.
    url
        The database, for the gaps of today.
    """
    app = FastAPI(title="Tickline", openapi_url=None)
    # A page in a browser of this machine must not reach it under a name of its own.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    gaps = _Gaps(url, service.lines[0].settings.collector)
    feed = "/api/v1/websocket"

    @app.get("/health")
    async def _health() -> JSONResponse:
        found = health(service)
        return JSONResponse(found, status_code=200 if found["status"] == "healthy" else 503)

    @app.get(f"{feed}/status")
    async def _status() -> JSONResponse:
        return JSONResponse(websocket_status(service, await gaps.today()))

    @app.get(f"{feed}/subscriptions")
    async def _subscriptions() -> JSONResponse:
        return JSONResponse(subscriptions(service))

    @app.get(f"{feed}/latest-ticks")
    async def _latest_ticks(key: list[str] | None = Query(default=None)) -> JSONResponse:  # noqa: B008
        return JSONResponse(latest_ticks(service, key))

    def change(action: str, asked: dict[str, Any]) -> JSONResponse:
        keys, mode = asked.get("keys"), asked.get("mode", service.lines[0].settings.mode)
        if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and "|" in key for key in keys):
            return _refused(422, f"keys {keys!r} are no list of instrument keys: give them as 'NSE_FO|53001'")
        if mode not in MODE_NAMES:
            return _refused(422, f"mode {mode!r} is unknown: give one of {', '.join(MODE_NAMES)}")
        try:
            if action == "unsubscribe":
                service.unsubscribe(keys)
            else:
                (service.subscribe if action == "subscribe" else service.change_mode)(keys, mode)
        except SubscriptionError as exc:
            return _refused(409, str(exc))
        return JSONResponse({"total_symbols": len(service.keys)})

    def _refused(status: int, text: str) -> JSONResponse:
        return JSONResponse({"error": text}, status_code=status)

    @app.post(f"{feed}/subscribe")
    async def _subscribe(asked: dict[str, Any] = Body()) -> JSONResponse:  # noqa: B008  FastAPI's way
        return change("subscribe", asked)

    @app.post(f"{feed}/unsubscribe")
    async def _unsubscribe(asked: dict[str, Any] = Body()) -> JSONResponse:  # noqa: B008
        return change("unsubscribe", asked)

    @app.post(f"{feed}/change-mode")
    async def _change_mode(asked: dict[str, Any] = Body()) -> JSONResponse:  # noqa: B008
        return change("change_mode", asked)

    return app


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the supervisor."""
        yield


def prepare(service: Service, url: str) -> uvicorn.Server:
    """Return a server that is ready to serve; it takes a part of a second that no frame should wait for."""
    config = uvicorn.Config(make_app(service, url), log_config=None, access_log=False, lifespan="off", ws="none")
    config.load()
    return _Server(config)


async def serve(server: uvicorn.Server, port: int) -> None:
    """Serve until cancelled; a port that is taken is said and costs the status only, never ticks."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as exc:
        reason = "is in use" if exc.errno == errno.EADDRINUSE else str(exc.strerror)
        log.warning("status is not served: port %d %s: set TICKLINE_API_PORT to another, or to 0", port, reason)
        return
    log.info("status is served url=http://%s:%d", HOST, port)
    with listening:
        await server.serve(sockets=[listening])
