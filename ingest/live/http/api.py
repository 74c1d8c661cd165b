"""HTTP API: serve the status and change subscriptions at run time; the guard decides who may.

`port` imports this module when somebody first connects. Requests are answered on the event loop between two
batches; the hot path never waits for them.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from ingest.database.questions import Questions
from ingest.errors import StoreError
from ingest.live.broadcast.hub import Hub
from ingest.live.http.guard import Guard, names_and_mode, say_errors
from ingest.live.http.metrics import add_metrics
from ingest.live.http.protocol import limits
from ingest.live.http.stream_routes import add_stream
from ingest.live.ingestion import Ingestion
from ingest.live.observe.health import health
from ingest.live.status import latest_ticks, subscriptions, websocket_status
from ingest.market.time import market_day

log = logging.getLogger(__name__)

GAPS_KEPT_S = 10.0  # the database is asked at most this often
NAMED_MAX = 10  # keys in one warning


class _Gaps:
    """Today's number of gaps, from the database."""

    def __init__(self, questions: Questions, collector: str) -> None:
        self._questions, self._collector = questions, collector
        self._found: int | None = None
        self._asked_s = -GAPS_KEPT_S

    async def today(self) -> int | None:
        """Return today's number of gaps; None while the database is away."""
        if time.monotonic() - self._asked_s >= GAPS_KEPT_S:
            self._asked_s = time.monotonic()
            try:
                ((self._found,),) = await self._questions.rows("live/gaps_today", {"collector": self._collector})
            except StoreError:
                self._found = None
        return self._found


class _Listed:
    """The vendor's instrument master, from the database."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion

    async def warnings(self, keys: list[str]) -> list[str]:
        """Return warnings about keys that are not in the master, because the vendor silently ignores them."""
        on = market_day(self._ingestion.watchdog.time_source.now())
        try:
            found = await self._ingestion.questions.rows("live/unlisted_keys", {"instrument_keys": keys, "on": on})
        except StoreError:
            return ["the database is away: the keys could not be checked against the vendor's list"]
        missing = [key for (key,) in found]
        if not missing:
            return []
        named = ", ".join(missing[:NAMED_MAX]) + (" …" if len(missing) > NAMED_MAX else "")
        return [f"{len(missing):,} keys are not in the vendor's list and may never be answered: {named}"]


def make_app(ingestion: Ingestion, hub: Hub, host: str, token: str) -> FastAPI:
    """Return the FastAPI application.

    Parameters
    ----------
    ingestion
        Running ingestion to show and change.
    hub
        Makes the events of the stream.
    host, token
        Host that it is bound to, and the token for requests that change something.
    """
    app = FastAPI(title="Tickline", openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, host=host, token=token)
    say_errors(app)
    gaps, listed = _Gaps(ingestion.questions, ingestion.streams[0].settings.collector), _Listed(ingestion)
    feed = "/api/v1/websocket"

    @app.get("/health")
    async def _health() -> JSONResponse:
        found = health(ingestion)
        return JSONResponse(found, status_code=200 if found["status"] == "healthy" else 503)

    @app.get(f"{feed}/status")
    async def _status() -> JSONResponse:
        return JSONResponse(websocket_status(ingestion, await gaps.today()))

    @app.get(f"{feed}/subscriptions")
    async def _subscriptions() -> JSONResponse:
        return JSONResponse(subscriptions(ingestion))

    @app.get(f"{feed}/latest-ticks")
    async def _latest_ticks(key: list[str] | None = Query(default=None)) -> JSONResponse:  # noqa: B008
        return JSONResponse(latest_ticks(ingestion, key))

    @app.post(f"{feed}/subscribe")
    async def _subscribe(request: Request) -> JSONResponse:
        names, mode = names_and_mode(await request.body(), ingestion.streams[0].settings.mode)
        keys = await ingestion.keys_of(names)
        fresh = [key for key in keys if key not in ingestion.keys]
        ingestion.subscribe(keys, mode)
        return _changed(await listed.warnings(fresh) if fresh else [])

    @app.post(f"{feed}/unsubscribe")
    async def _unsubscribe(request: Request) -> JSONResponse:
        names, _ = names_and_mode(await request.body(), ingestion.streams[0].settings.mode)
        ingestion.unsubscribe(await ingestion.keys_of(names))
        return _changed()

    @app.post(f"{feed}/change-mode")
    async def _change_mode(request: Request) -> JSONResponse:
        names, mode = names_and_mode(await request.body(), ingestion.streams[0].settings.mode)
        ingestion.change_mode(await ingestion.keys_of(names), mode)
        return _changed()

    @app.post(f"{feed}/retry")
    async def _retry() -> JSONResponse:
        return JSONResponse({"retried_keys": ingestion.retry()})

    add_stream(app, ingestion, hub)
    add_metrics(app, ingestion)

    def _changed(warnings: Sequence[str] = ()) -> JSONResponse:
        return JSONResponse({"total_symbols": len(ingestion.keys)} | ({"warnings": warnings} if warnings else {}))

    return app


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the supervisor."""
        yield


def prepare(ingestion: Ingestion, hub: Hub, token: str) -> uvicorn.Server:
    """Return a server that is ready to serve a socket."""
    app = make_app(ingestion, hub, ingestion.streams[0].settings.api_host, token)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", **limits())
    config.load()
    return _Server(config)
