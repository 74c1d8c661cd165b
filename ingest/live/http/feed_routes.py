"""Routes of the feed: status, subscriptions and last ticks, and their changes at run time."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from ingest.database.questions import Questions
from ingest.errors import StoreError
from ingest.live.http.described import NAME_PATTERN, Keys, answers, keys_body
from ingest.live.http.routes import Request, Response, Routes, WrongRequestError, answered
from ingest.live.ingestion import Ingestion
from ingest.live.latest_ticks import latest_ticks
from ingest.live.status import subscriptions, websocket_status
from ingest.market.time import market_day
from ingest.model.frames import MODE_NAMES
from ingest.model.keys import shown

FEED = "/api/v1/websocket"
GAPS_KEPT_S = 10.0  # the database is asked at most this often
NAMED_MAX = 10  # keys in one warning
SLICE_KEYS = 100  # whose last ticks are gathered at once, a millisecond; then frames have their turn
_NAME = re.compile(NAME_PATTERN[1:-1])
WRONG_KEYS = 'give them as {"keys": ["NSE_FO|53001", "INFY"]}'


class AskedTicks(BaseModel):
    """Parameters of `latest-ticks`."""

    keys: Keys = None


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


def add_feed(routes: Routes, ingestion: Ingestion) -> None:
    """Add the routes."""
    mode = ingestion.streams[0].settings.mode
    gaps = _Gaps(ingestion.questions, ingestion.streams[0].settings.collector)

    @routes.add(
        "GET",
        f"{FEED}/status",
        "State of connections and keys, with counters",
        tag="feed",
        responses=answers("Status"),
    )
    async def status(_: Request) -> Response:
        return answered(websocket_status(ingestion, await gaps.today()))

    @routes.add(
        "GET",
        f"{FEED}/subscriptions",
        "Every wanted key with its mode, connection and state",
        tag="feed",
        responses=answers("Subscriptions"),
    )
    async def subscribed(_: Request) -> Response:
        return answered(subscriptions(ingestion))

    @routes.add(
        "GET",
        f"{FEED}/latest-ticks",
        "Last tick of each instrument, or of some",
        tag="feed",
        query=AskedTicks,
        responses=answers("LatestTicks", 404, 422),
    )
    async def latest(_: Request, asked: AskedTicks) -> Response:
        keys = list(ingestion.keys) if asked.keys is None else await ingestion.keys_to_read(asked.keys)
        counts, parts = latest_ticks(ingestion, ()), []
        for first in range(0, len(keys), SLICE_KEYS):
            part = latest_ticks(ingestion, keys[first : first + SLICE_KEYS])["latest_ticks"]
            counts["symbols_tracked"] += len(part)
            parts += [to_json(part)[1:-1]] if part else []
            await asyncio.sleep(0)
        del counts["latest_ticks"]
        return Response(to_json(counts)[:-1] + b',"latest_ticks":{' + b",".join(parts) + b"}}")

    @routes.add(
        "POST",
        f"{FEED}/subscribe",
        "Record more keys until the next start, or in another mode",
        tag="feed",
        responses=answers("Changed", 404, 409, 422),
        more=keys_body(),
    )
    async def subscribe(request: Request) -> Response:
        names, wanted = names_and_mode(request.body, mode)
        keys = await ingestion.keys_of(names)
        fresh = [key for key in keys if key not in ingestion.keys]
        ingestion.subscribe(keys, wanted)
        return _changed(await _warnings(ingestion, fresh) if fresh else [])

    @routes.add(
        "POST",
        f"{FEED}/unsubscribe",
        "Record keys no longer, until the next start",
        tag="feed",
        responses=answers("Changed", 404, 409, 422),
        more=keys_body(mode=False),
    )
    async def unsubscribe(request: Request) -> Response:
        names, _ = names_and_mode(request.body, mode)
        ingestion.unsubscribe(await ingestion.keys_of(names))
        return _changed()

    @routes.add(
        "POST",
        f"{FEED}/change-mode",
        "Record subscribed keys in another mode",
        tag="feed",
        responses=answers("Changed", 404, 409, 422),
        more=keys_body(),
    )
    async def change_mode(request: Request) -> Response:
        names, wanted = names_and_mode(request.body, mode)
        ingestion.change_mode(await ingestion.keys_of(names), wanted)
        return _changed()

    @routes.add(
        "POST",
        f"{FEED}/retry",
        "Ask again for keys that the feed has not answered: all, or some",
        tag="feed",
        responses=answers("Retried", 404, 422),
        more=keys_body(is_optional=True, mode=False),
    )
    async def retry(request: Request) -> Response:
        names = names_if_any(request.body)
        return answered({"retried_keys": ingestion.retry(None if names is None else await ingestion.keys_of(names))})

    def _changed(warnings: Sequence[str] = ()) -> Response:
        return answered({"total_symbols": len(ingestion.keys)} | ({"warnings": warnings} if warnings else {}))


def names_and_mode(body: bytes, usual_mode: str) -> tuple[list[str], str]:
    """Return the names and the mode in a body: `{"keys": [...], "mode": "full"}`; the mode is optional.

    A key is an instrument key or a name of an instrument, such as INFY.

    Raises
    ------
    WrongRequestError
        If the body has another form, or a text in it is neither a key nor a name.
    """
    asked = _object(body)
    keys, mode = asked.get("keys"), asked.get("mode", usual_mode)
    if not isinstance(keys, list) or not keys:
        raise WrongRequestError(f"'keys' is not a list of instrument keys or names: {WRONG_KEYS}")
    for key in keys:
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            raise WrongRequestError(f"{_named(key)} is neither an instrument key nor a name: {WRONG_KEYS}")
    if not isinstance(mode, str) or mode not in MODE_NAMES:
        raise WrongRequestError(f"mode {_named(mode)} is unknown: give one of {', '.join(MODE_NAMES)}")
    return list(dict.fromkeys(keys)), mode


def names_if_any(body: bytes) -> list[str] | None:
    """Return the names in a body; None: there is no body, or it has no `keys`. Raises as `names_and_mode` does."""
    return names_and_mode(body, next(iter(MODE_NAMES)))[0] if body and "keys" in _object(body) else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise WrongRequestError(f"the body is not JSON: {WRONG_KEYS}") from None
    if not isinstance(asked, dict):
        raise WrongRequestError(f"the body is not a JSON object: {WRONG_KEYS}")
    return asked


def _named(value: object) -> str:
    """Return a foreign value in the form that errors show."""
    return repr(shown(value)) if isinstance(value, str) else f"a value of type {type(value).__name__}"
