"""Event stream: ticks, bars and signals of a running `tickline start`, as they come.

Owns the client of `GET /api/v1/stream`: typed events, reconnection, and the position from which it resumes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, get_args
from urllib.parse import urlsplit

import aiohttp

from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError, UnknownNameError

log = logging.getLogger(__name__)

URL = "http://127.0.0.1:8788"
SILENT_S = 15.0  # three heartbeats of the server
FIRST_S, MAX_S = 0.2, 5.0  # first and longest wait before a new connection
EVENT_BYTES_MAX = 64 * 2**20  # of one event; a larger one is no stream of ours
SIGNALS_KEPT = 2_000  # to recognise one that comes again
Kind = Literal["tick", "bar", "signal"]


class Tick(NamedTuple):
    """One update of one instrument, in the columns of `ticks`; None: no value.

    Prices are in rupees, quantities in units, times aware UTC. If `is_snapshot`, it is the last state of the instrument
    when the stream began: `seq`, `traded` and `volume` are None.
    """

    instrument_key: str
    symbol: str | None
    ts: datetime
    seq: int | None
    traded: bool | None
    ltp: float | None
    ltq: int | None
    ltt: datetime | None
    vtt: int | None
    volume: int | None
    oi: int | None
    atp: float | None
    tbq: float | None
    tsq: float | None
    bid: float | None
    bid_qty: int | None
    ask: float | None
    ask_qty: int | None
    iv: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    day_open: float | None
    day_high: float | None
    day_low: float | None
    prev_close: float | None
    received_at: datetime | None
    is_snapshot: bool = False

    @property
    def kind(self) -> str:
        """`"tick"`."""
        return "tick"


class Bar(NamedTuple):
    """A bar of one minute, as in `best_bars_1m`; the last one of a minute counts.

    Prices are in rupees, volume and open interest in units; `bucket` is the start of the minute, aware UTC.
    """

    instrument_key: str
    symbol: str | None
    bucket: datetime
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None
    oi: int | None
    ticks: int | None
    source: str | None
    quality: str | None
    is_snapshot: bool = False

    @property
    def kind(self) -> str:
        """`"bar"`."""
        return "bar"


class Signal(NamedTuple):
    """A spike, as in `signals`: price in rupees, `bucket` the start of its minute, times aware UTC.

    `severity` is low, medium or high; `members` the other instruments that fired with it; None: there are none.
    """

    instrument_key: str
    symbol: str | None
    bucket: datetime
    rule_set: str
    direction: str
    confidence: float
    score: float
    price: float
    reasons: Any
    created_at: datetime
    severity: str | None = None
    members: list[dict[str, Any]] | None = None
    is_snapshot: bool = False

    @property
    def kind(self) -> str:
        """`"signal"`."""
        return "signal"


class Missed(NamedTuple):
    """Something was missed: events between two positions are not in this stream; the database may have them."""

    reason: str
    since: str | None
    until: str | None

    @property
    def kind(self) -> str:
        """`"missed"`."""
        return "missed"


Event = Tick | Bar | Signal | Missed
_ROWS: dict[str, type[Tick] | type[Bar] | type[Signal]] = {"tick": Tick, "bar": Bar, "signal": Signal}
_TIMES = {"ts", "ltt", "received_at", "bucket", "created_at"}
_WHOLE = {"seq", "ltq", "vtt", "volume", "oi", "bid_qty", "ask_qty", "ticks"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}  # where the stored token may be sent


class EventStream:
    """Events of a running ingester: `async for event in analytics.stream(...)`; see `stream`.

    Attributes
    ----------
    position
        The position behind the events so far, for `stream(position=…)`; None: there was none.
    is_connected
        Whether it is connected now.
    reconnects
        Number of connections after the first.
    error
        Why it was not connected the last time; "": it always was.
    """

    def __init__(
        self, names: Iterable[str], kinds: Sequence[Kind], *, url: str, token: str | None, position: str | None
    ) -> None:
        self.position = position
        self.is_connected = False
        self.reconnects = 0
        self.error = ""
        self._names, self._kinds, self._url, self._token = tuple(names), tuple(kinds), url.rstrip("/"), token
        self._events: AsyncGenerator[Event, None] | None = None
        self._signals: dict[tuple[Any, ...], None] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._events is None:
            self._events = self._run()
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._events is not None:
            await self._events.aclose()

    async def _run(self) -> AsyncGenerator[Event, None]:
        failures = 0
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    async with aclosing(self._connection(session)) as events:
                        async for event in events:
                            failures = 0
                            yield event
                    self.error = "the server has ended the stream"
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
                    self.error = f"{type(exc).__name__}: {exc}".rstrip(": ")
                finally:
                    self.is_connected = False
                failures += 1
                wait_s = min(FIRST_S * 2 ** min(failures - 1, 10), MAX_S) * random.uniform(0.5, 1.0)  # noqa: S311
                level = logging.WARNING if failures == 2 else logging.DEBUG  # one that comes back at once is no news
                log.log(level, "stream is away, trying again url=%s in_s=%.1f error=%s", self._url, wait_s, self.error)
                await asyncio.sleep(wait_s)
                self.reconnects += 1

    async def _connection(self, session: aiohttp.ClientSession) -> AsyncGenerator[Event, None]:
        """Yield the events of one connection."""
        parameters = [("kind", kind) for kind in self._kinds] + [("key", name) for name in self._names]
        headers = {"Accept": "text/event-stream"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self.position:
            headers["Last-Event-ID"] = self.position
        async with session.get(f"{self._url}/api/v1/stream", params=parameters, headers=headers) as answer:
            if answer.status != 200:
                await _refused(answer, self._url)
            self.is_connected = True
            async for kind, data, position in _events_of(answer.content):
                for event in self._made(kind, data):
                    yield event
                self.position = position or self.position  # only when all of it was taken

    def _made(self, kind: str, data: str) -> Iterable[Event]:
        if kind == "hello":
            said = json.loads(data)
            if said.get("cut_off"):
                log.warning("stream was cut off, it continues where it was reason=%r", said["cut_off"]["reason"])
        elif kind == "missed":
            said = json.loads(data)
            yield Missed(said["reason"], said.get("from"), said.get("to"))
        elif kind == "snapshot" or kind in _ROWS:
            said = json.loads(data)
            yield from self._rows(said.get("kind", kind), said, is_snapshot=kind == "snapshot")

    def _rows(self, kind: str, said: dict[str, Any], *, is_snapshot: bool) -> Iterable[Event]:
        row = _ROWS[kind]
        makers = [(name, _maker(name)) for name in said["columns"]]
        known = [(place, name, make) for place, (name, make) in enumerate(makers) if name in row._fields]
        for values in said["rows"]:
            event = row(**{name: make(values[place]) for place, name, make in known}, is_snapshot=is_snapshot)
            if not (isinstance(event, Signal) and self._had(event)):
                yield event

    def _had(self, signal: Signal) -> bool:
        """Tell whether a signal has come before: signals are found by time, so that none is missed."""
        place = signal.instrument_key, signal.bucket, signal.rule_set, signal.created_at
        if place in self._signals:
            return True
        self._signals[place] = None
        if len(self._signals) > SIGNALS_KEPT:
            del self._signals[next(iter(self._signals))]
        return False


def stream(
    names: str | Iterable[str] = (),
    kinds: Sequence[Kind] = ("tick",),
    *,
    url: str = URL,
    token: str | None = None,
    position: str | None = None,
) -> EventStream:
    """Return the events of a running `tickline start`, without end: first the last state of each key, then what comes.

    It reconnects by itself and continues behind the last event, so each tick comes once; if that is not possible, a
    `Missed` says so. Bars come after their minute, and again when they have changed.

    Parameters
    ----------
    names
        Instrument keys, or names as a trader types them; none: everything that is recorded.
    kinds
        "tick", "bar", "signal".
    url
        Address of the ingester's HTTP API.
    token
        Token of the API, which only an ingester asks for that listens on more than loopback; None: what `api-token` in
        `TICKLINE_HOME` holds, if it can be read and the address is this machine.
    position
        Where an earlier stream of the same names was: its `position`.

    Returns
    -------
    EventStream
        An asynchronous iterator of `Tick`, `Bar`, `Signal` and `Missed`; `kind` says which it is. `async with` closes
        its connection at the end of the block.

    Raises
    ------
    ConfigError
        If a kind is unknown. While iterating: if the API refuses the token or the position's form.
    UnknownNameError
        While iterating: if a name means no instrument; the text has near matches.

    Examples
    --------
    >>> async def main():
    ...     async with analytics.stream(["NIFTY FUT"], kinds=("tick", "bar")) as events:
    ...         async for event in events:
    ...             print(event.kind, event)
    """
    if wrong := [kind for kind in kinds if kind not in get_args(Kind)]:
        raise ConfigError(f"kind {wrong[0]!r} is unknown: give 'tick', 'bar' or 'signal'")
    if token is None and urlsplit(url).hostname in LOOPBACK:
        token = _stored_token()
    return EventStream([names] if isinstance(names, str) else names, kinds, url=url, token=token, position=position)


def _stored_token() -> str | None:
    path: Path = load(DatabaseSettings).home / "api-token"
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeError):
        return None


async def _refused(answer: aiohttp.ClientResponse, url: str) -> None:
    """Raise what a refusal means; an aiohttp error: try again later."""
    try:
        text = str((await answer.json(content_type=None))["error"])
    except (ValueError, KeyError, TypeError):
        text = f"status {answer.status}"
    if answer.status == 404:
        raise UnknownNameError(text)
    if answer.status in {400, 401, 403, 405, 422}:
        raise ConfigError(f"stream of {url} refuses: {text}")
    raise aiohttp.ClientPayloadError(text)


async def _events_of(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, str, str]]:
    """Yield kind, data and position of each event; a kind of "" only moves the position."""
    buffered = bytearray()
    async for part in content.iter_any():
        searched = max(len(buffered) - 1, 0)
        buffered += part
        while (end := buffered.find(b"\n\n", searched)) >= 0:
            text = buffered[:end].decode()
            del buffered[: end + 2]
            searched = 0
            yield _parsed(text)
        if len(buffered) > EVENT_BYTES_MAX:
            raise aiohttp.ClientPayloadError(f"an event has more than {EVENT_BYTES_MAX} bytes")


def _parsed(text: str) -> tuple[str, str, str]:
    fields = {"event": "", "data": "", "id": ""}
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name in fields:
            fields[name] += value.removeprefix(" ")
    return fields["event"], fields["data"], fields["id"]


def _maker(name: str) -> Callable[[Any], Any]:
    if name in _TIMES:
        return lambda value: None if value is None else datetime.fromisoformat(value)
    if name in _WHOLE:
        return lambda value: value
    return lambda value: float(value) if type(value) is int else value  # PostgreSQL writes 100.0 as 100
