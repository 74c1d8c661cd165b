"""Routes that read the database: bars, signals and instruments, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from ingest.database.resolve import spelling
from ingest.live.http.described import Keys, Name, NeededKeys, answers
from ingest.live.http.routes import Request, Response, Routes, answered
from ingest.live.ingestion import Ingestion
from ingest.market.time import market_day

BAR = (
    "instrument_key", "symbol", "bucket", "open", "high", "low", "close", "volume", "oi", "ticks", "source", "quality",
)  # fmt: skip
SIGNAL = (
    "instrument_key", "symbol", "bucket", "rule_set", "direction", "confidence", "score", "price", "reasons",
    "after_5m", "after_15m", "after_60m", "created_at", "severity", "members",
)  # fmt: skip
INSTRUMENT = (
    "instrument_id", "instrument_key", "symbol", "name", "segment", "instrument_type", "underlying_key", "expiry",
    "strike", "lot_size", "tick_size", "is_recorded",
)  # fmt: skip
LIMIT, LIMIT_MAX = 500, 1_000  # rows in an answer, which the event loop makes at once: some milliseconds
SKIP_MAX = 1_000_000
ID_MAX = 2**31 - 1
RANGE = timedelta(days=1)  # if no start is given
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)  # nothing is outside
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[ +-]\d\d:\d\d)", re.IGNORECASE)


def _time(value: object) -> datetime:
    """Return a time of RFC 3339; a plus sign that the address has turned into a space is one."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError(f"time {value!r} is not of RFC 3339: give it as 2026-11-27T09:15:00+05:30")
    found = datetime.fromisoformat(value[:-6] + value[-6:].replace(" ", "+"))
    return min(max(found, FIRST), LAST)


Time = Annotated[datetime, BeforeValidator(_time)]
Start = Annotated[Time | None, Field(description="RFC 3339; a day before `end` if not given")]
End = Annotated[Time | None, Field(description="RFC 3339, not included; now if not given")]
Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX, description="rows at most")]
Skip = Annotated[int, Field(ge=0, le=SKIP_MAX, description="rows to leave out: `next` of the page before")]


class AskedBars(BaseModel):
    """Parameters of `bars`."""

    keys: NeededKeys
    interval: Literal["1m", "5m", "15m", "30m", "1h", "75m", "1d", "1w", "1mo"] = "1m"
    source: Literal["best", "ticks", "official"] = "best"
    start: Start = None
    end: End = None
    limit: Limit = LIMIT
    skip: Skip = 0


class AskedSignals(BaseModel):
    """Parameters of `signals`."""

    keys: Keys = None
    start: Start = None
    end: End = None
    limit: Limit = LIMIT
    skip: Skip = 0


class AskedInstruments(BaseModel):
    """Parameters of `instruments`."""

    keys: Keys = None
    search: Annotated[Name | None, Field(description="part of a symbol, or beginning of a name")] = None
    segment: Annotated[str | None, Field(pattern="^[A-Z_]{2,20}$", description="as NSE_FO")] = None
    type: Annotated[str | None, Field(pattern="^[A-Z0-9]{1,10}$", description="as FUT")] = None
    underlying: Annotated[Name | None, Field(description="key or name of what a derivative is on")] = None
    expired: Annotated[Literal["true", "false"], Field(description="whether expired ones count")] = "false"
    limit: Limit = LIMIT
    after: Annotated[int, Field(ge=0, le=ID_MAX, description="`next` of the page before")] = 0


def add_data(routes: Routes, ingestion: Ingestion) -> None:
    """Add the routes."""
    # Its own turn: a long answer must not hold up a subscription.
    questions = ingestion.questions.beside()

    async def keys_of(asked: AskedSignals | AskedInstruments) -> list[str] | None:
        return await ingestion.keys_to_read(asked.keys) if asked.keys else None

    @routes.add(
        "GET",
        "/api/v1/bars",
        "Bars of instruments, by time",
        tag="data",
        query=AskedBars,
        responses=answers("Bars", 404, 422),
    )
    async def bars(_: Request, asked: AskedBars) -> Response:
        parameters = {
            "instrument_keys": await ingestion.keys_to_read(asked.keys),
            "interval": asked.interval,
            "source": asked.source,
        }
        found = await questions.rows("api/bars", parameters | _range(ingestion, asked) | _page(asked))
        return _rows("bars", BAR, found, asked)

    @routes.add(
        "GET",
        "/api/v1/signals",
        "Signals, newest first",
        tag="data",
        query=AskedSignals,
        responses=answers("Signals", 404, 422),
    )
    async def signals(_: Request, asked: AskedSignals) -> Response:
        parameters = {"instrument_keys": await keys_of(asked)}
        found = await questions.rows("api/signals", parameters | _range(ingestion, asked) | _page(asked))
        return _rows("signals", SIGNAL, found, asked)

    @routes.add(
        "GET",
        "/api/v1/instruments",
        "Instruments of the vendor's list and of the feed",
        tag="data",
        query=AskedInstruments,
        responses=answers("Instruments", 404, 422),
    )
    async def instruments(_: Request, asked: AskedInstruments) -> Response:
        on, limit, underlying = market_day(ingestion.watchdog.time_source.now()), asked.limit, asked.underlying
        parameters = {
            "after": asked.after,
            "instrument_keys": await keys_of(asked),
            "spelling": spelling(asked.search) if asked.search else None,
            "segment": asked.segment,
            "instrument_type": asked.type,
            "underlying_key": (await ingestion.keys_to_read([underlying]))[0] if underlying else None,
            "on": None if asked.expired == "true" else on,
            "rows_max": limit + 1,
        }
        found = await questions.rows("api/instruments", parameters)
        rows = [(*row, row[1] in ingestion.keys) for row in found[:limit]]
        return _answer("instruments", INSTRUMENT, rows, following=found[limit - 1][0] if len(found) > limit else None)


def _range(ingestion: Ingestion, asked: AskedBars | AskedSignals) -> dict[str, Any]:
    until = asked.end or max(ingestion.watchdog.time_source.now(), ingestion.market_time() or FIRST)
    return {"start": asked.start or until - RANGE, "end": until}


def _page(asked: AskedBars | AskedSignals) -> dict[str, Any]:
    return {"skip": asked.skip, "rows_max": asked.limit + 1}


def _rows(name: str, fields: Sequence[str], found: Sequence[Any], asked: AskedBars | AskedSignals) -> Response:
    following = asked.skip + asked.limit if len(found) > asked.limit else None
    return _answer(name, fields, found[: asked.limit], following=following)


def _answer(name: str, fields: Sequence[str], rows: Iterable[Any], *, following: int | None) -> Response:
    """Return rows as objects."""
    return answered({name: [dict(zip(fields, row, strict=True)) for row in rows], "next": following})
