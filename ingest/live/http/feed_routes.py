"""Routes of the feed: status, subscriptions and last ticks, and their changes at run time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ingest.database.questions import Questions
from ingest.errors import StoreError
from ingest.live.http.described import Keys, answers, keys_body
from ingest.live.http.guard import names_and_mode, names_if_any
from ingest.live.ingestion import Ingestion
from ingest.live.latest_ticks import latest_ticks
from ingest.live.status import subscriptions, websocket_status
from ingest.market.time import market_day

FEED = "/api/v1/websocket"
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


async def _warnings(ingestion: Ingestion, keys: list[str]) -> list[str]:
    """Return warnings about keys that are not in the vendor's list, because the vendor silently ignores them."""
    on = market_day(ingestion.watchdog.time_source.now())
    try:
        found = await ingestion.questions.rows("live/unlisted_keys", {"instrument_keys": keys, "on": on})
    except StoreError:
        return ["the database is away: the keys could not be checked against the vendor's list"]
    missing = [key for (key,) in found]
    if not missing:
        return []
    named = ", ".join(missing[:NAMED_MAX]) + (" …" if len(missing) > NAMED_MAX else "")
    return [f"{len(missing):,} keys are not in the vendor's list and may never be answered: {named}"]


def add_feed(app: FastAPI, ingestion: Ingestion) -> None:
    """Add the routes to an application."""
    mode = ingestion.streams[0].settings.mode
    gaps = _Gaps(ingestion.questions, ingestion.streams[0].settings.collector)

    @app.get(
        f"{FEED}/status",
        summary="State of connections and keys, with counters",
        tags=["feed"],
        responses=answers("Status"),
    )
    async def status() -> JSONResponse:
        return JSONResponse(websocket_status(ingestion, await gaps.today()))

    @app.get(
        f"{FEED}/subscriptions",
        summary="Every wanted key with its mode, connection and state",
        tags=["feed"],
        responses=answers("Subscriptions"),
    )
    async def subscribed() -> JSONResponse:
        return JSONResponse(subscriptions(ingestion))

    @app.get(
        f"{FEED}/latest-ticks",
        summary="Last tick of each instrument, or of some",
        tags=["feed"],
        responses=answers("LatestTicks", 404, 422),
    )
    async def latest(key: Keys = None) -> JSONResponse:
        return JSONResponse(latest_ticks(ingestion, None if key is None else await ingestion.keys_to_read(key)))

    @app.post(
        f"{FEED}/subscribe",
        summary="Record more keys until the next start, or in another mode",
        tags=["feed"],
        responses=answers("Changed", 404, 409, 422),
        openapi_extra=keys_body(),
    )
    async def subscribe(request: Request) -> JSONResponse:
        names, wanted = names_and_mode(await request.body(), mode)
        keys = await ingestion.keys_of(names)
        fresh = [key for key in keys if key not in ingestion.keys]
        ingestion.subscribe(keys, wanted)
        return _changed(await _warnings(ingestion, fresh) if fresh else [])

    @app.post(
        f"{FEED}/unsubscribe",
        summary="Record keys no longer, until the next start",
        tags=["feed"],
        responses=answers("Changed", 404, 409, 422),
        openapi_extra=keys_body(mode=False),
    )
    async def unsubscribe(request: Request) -> JSONResponse:
        names, _ = names_and_mode(await request.body(), mode)
        ingestion.unsubscribe(await ingestion.keys_of(names))
        return _changed()

    @app.post(
        f"{FEED}/change-mode",
        summary="Record subscribed keys in another mode",
        tags=["feed"],
        responses=answers("Changed", 404, 409, 422),
        openapi_extra=keys_body(),
    )
    async def change_mode(request: Request) -> JSONResponse:
        names, wanted = names_and_mode(await request.body(), mode)
        ingestion.change_mode(await ingestion.keys_of(names), wanted)
        return _changed()

    @app.post(
        f"{FEED}/retry",
        summary="Ask again for keys that the feed has not answered: all, or some",
        tags=["feed"],
        responses=answers("Retried", 404, 422),
        openapi_extra=keys_body(is_optional=True, mode=False),
    )
    async def retry(request: Request) -> JSONResponse:
        names = names_if_any(await request.body())
        return JSONResponse(
            {"retried_keys": ingestion.retry(None if names is None else await ingestion.keys_of(names))}
        )

    def _changed(warnings: Sequence[str] = ()) -> JSONResponse:
        return JSONResponse({"total_symbols": len(ingestion.keys)} | ({"warnings": warnings} if warnings else {}))
