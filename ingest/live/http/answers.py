"""Answers of the API as types, from which its OpenAPI document is made.

They document, and tests compare them with real answers. Answers are not built from them, because the check of 25,000
keys would hold up the event loop; so they are loaded when somebody first asks for the document.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all answers: fields may be added, none is left out."""

    model_config = ConfigDict(extra="allow")


class Refusal(BaseModel):
    """Every refusal."""

    error: str = Field(description="one line: what is wrong, the value, the remedy", examples=["'keys' is not a list"])


class Endpoint(BaseModel):
    """One path of the API."""

    method: str
    path: str
    summary: str


class Root(Answer):
    """What is here."""

    name: Literal["Tickline"]
    version: str
    collector: str = Field(description="name of this recorder in the database")
    docs: str = Field(description="path of the documentation")
    openapi: str
    endpoints: list[Endpoint]


class Health(Answer):
    """Whether all data that should flow does."""

    status: Literal["healthy", "unhealthy"]
    environment: Literal["production", "simulator"]
    paper_trading: Literal[False] = Field(description="always false: Tickline sends no orders")
    websocket_connected: bool
    problems: list[str] = Field(description="what keeps data from flowing")
    warnings: list[str]
    conditions: list[dict[str, Any]] = Field(
        description="both, each with a stable `id`, `severity`, `subject`, `since`"
    )


class Live(Answer):
    """The process answers."""

    status: Literal["alive"]


class Ready(Answer):
    """Whether what is received is recorded and stored."""

    status: Literal["ready", "not ready"]
    reasons: list[str] = Field(description="why it is not ready")


class SubscriptionCounts(Answer):
    """Counts of the wanted keys."""

    total_symbols: int
    subscribed_count: int = Field(description="keys that the feed has answered")
    failed_count: int = Field(description="keys that the feed has not answered")
    subscription_rate: str = Field(description="subscribed of all", examples=["100.00%"], pattern=r"^\d+\.\d\d%$")


class Status(Answer):
    """State of connections and keys, with counters of their data."""

    is_running: bool
    websocket_connected: bool = Field(description="every connection that has keys is up")
    subscriptions: SubscriptionCounts
    subscribed_symbols: list[str] = Field(description="trading symbols; the key, if it has none of its own")
    subscribed_keys: list[str]
    confirmed_keys: int
    silent_keys: list[str]
    failed_keys: list[str]
    last_frame_age_s: float | None
    journal_lag_bytes: int = Field(description="received and not read yet")
    database_away_s: float | None
    is_decoding: bool
    errors: dict[str, Any] = Field(description="last error of each part")
    database_pool: dict[str, int]
    does_once: list[str] = Field(description="what this process does now for all on the database")
    evening: dict[str, Any] | None
    gaps_today: int | None = Field(description="breaks of whole connections; null while the database is away")
    market_time: datetime | None = Field(description="the feed's clock")
    segments: dict[str, str] = Field(description="state of each market segment")
    connections: list[dict[str, Any]]
    handlers: list[dict[str, Any]]
    stream: dict[str, Any] | None = Field(description="clients of the event stream, and its counters")


class Subscription(Answer):
    """One wanted key."""

    symbol: str | None
    mode: str
    connection: str
    state: str


class Subscriptions(Answer):
    """All wanted keys."""

    status: SubscriptionCounts
    subscribed_symbols: list[str]
    total_symbols: int
    subscriptions: dict[str, Subscription] = Field(description="by instrument key")


class LatestTick(Answer):
    """Last tick of one instrument."""

    price: float = Field(description="rupees")
    volume: int | None = Field(description="units traded today; null: an index")
    bid: float | None
    ask: float | None
    timestamp: datetime = Field(description="of the last trade")
    instrument_key: str
    age_s: float | None = Field(description="since its last update; null: none since the start")
    state: str = Field(description="of its subscription")


class LatestTicks(Answer):
    """Last ticks."""

    symbols_tracked: int
    price_updates: int = Field(description="ticks committed since the start, of all instruments")
    latest_ticks: dict[str, LatestTick] = Field(description="by trading symbol; by key, if it has none of its own")


class Changed(Answer):
    """A change of subscriptions was taken."""

    total_symbols: int
    warnings: list[str] = Field(default=[], description="keys that are not in the vendor's list")


class Retried(Answer):
    """Keys that are requested again."""

    retried_keys: list[str]


class Bar(BaseModel):
    """One bar; prices in rupees, volume and open interest in units."""

    instrument_key: str
    symbol: str | None
    bucket: datetime = Field(description="its start")
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None
    oi: int | None
    ticks: int | None
    source: str | None
    quality: str | None


class Bars(Answer):
    """Bars by time; `next` is the `after` of the next page, null at the end."""

    bars: list[Bar]
    next: str | None


class Member(BaseModel):
    """An instrument that fired with a signal."""

    instrument_id: int
    instrument_key: str
    trading_symbol: str | None
    bucket: datetime
    direction: Literal["up", "down"]
    confidence: float
    reasons: str


class Signal(BaseModel):
    """One detected spike."""

    instrument_key: str
    symbol: str | None
    bucket: datetime
    rule_set: str
    direction: Literal["up", "down"]
    confidence: float
    score: float
    price: float
    reasons: Any
    after_5m: float | None
    after_15m: float | None
    after_60m: float | None
    created_at: datetime
    severity: Literal["low", "medium", "high"] | None
    members: list[Member] | None = Field(description="the other instruments of the same underlying that fired with it")


class Signals(Answer):
    """Signals, newest first; `next` is the `before` of the next page, null at the end."""

    signals: list[Signal]
    next: str | None


class Instrument(BaseModel):
    """One instrument of the list."""

    instrument_id: int
    instrument_key: str
    symbol: str | None
    name: str | None
    segment: str | None
    instrument_type: str | None
    underlying_key: str | None
    expiry: date | None
    strike: float | None
    lot_size: int | None
    tick_size: float | None
    is_recorded: bool = Field(description="whether this run records it")


class Instruments(Answer):
    """Instruments by id; `next` is the `after` of the next page, null at the end."""

    instruments: list[Instrument]
    next: int | None


_TICK = {
    "price": 1552.95, "volume": 1164, "bid": 1552.9, "ask": 1553.0, "timestamp": "2026-11-27T05:29:59+00:00",
    "instrument_key": "NSE_EQ|INE009A01021", "age_s": 0.31, "state": "confirmed",
}  # fmt: skip
_COUNTS = {"total_symbols": 2, "subscribed_count": 2, "failed_count": 0, "subscription_rate": "100.00%"}
_INFY = {"instrument_key": "NSE_EQ|INE009A01021", "symbol": "INFY"}
_BAR = _INFY | {
    "bucket": "2026-11-27T03:45:00Z", "open": 1550.0, "high": 1553.4, "low": 1549.1, "close": 1552.95,
    "volume": 52310, "oi": None, "ticks": 148, "source": "official", "quality": "complete",
}  # fmt: skip
_SIGNAL = _INFY | {
    "bucket": "2026-11-27T05:12:00Z", "rule_set": "default", "direction": "up", "confidence": 0.93, "score": 2.6,
    "price": 1561.2, "reasons": {"text": ["up 0.6 % in 5 minutes"]}, "after_5m": 0.0012, "after_15m": None,
    "after_60m": None, "created_at": "2026-11-27T05:13:04.120000Z", "severity": "high", "members": None,
}  # fmt: skip
# Name of a type -> an example, for the page.
EXAMPLES: dict[str, dict[str, Any]] = {
    "Health": {
        "status": "healthy", "environment": "production", "paper_trading": False, "websocket_connected": True,
        "problems": [], "warnings": [], "conditions": [],
    },
    "Ready": {"status": "ready", "reasons": []},
    "Subscriptions": {
        "status": _COUNTS,
        "subscribed_symbols": ["INFY", "NIFTY FUT 29 DEC 26"],
        "total_symbols": 2,
        "subscriptions": {
            "NSE_EQ|INE009A01021": {"symbol": "INFY", "mode": "full", "connection": "1", "state": "confirmed"}
        },
    },
    "LatestTicks": {"symbols_tracked": 1, "price_updates": 51422, "latest_ticks": {"INFY": _TICK}},
    "Changed": {"total_symbols": 3, "warnings": []},
    "Retried": {"retried_keys": ["NSE_FO|53001"]},
    "Bars": {"bars": [_BAR], "next": None},
    "Signals": {"signals": [_SIGNAL], "next": None},
    "Refusal": {"error": "unknown instrument 'INFI' on 2026-11-27: near matches are 'INFY'"},
}  # fmt: skip
DOCUMENTED: tuple[type[BaseModel], ...] = (
    Root, Health, Live, Ready, Status, Subscriptions, LatestTicks, Changed, Retried, Bars, Signals, Instruments,
    Refusal,
)  # fmt: skip
