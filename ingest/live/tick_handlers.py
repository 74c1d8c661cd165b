"""Tick handlers: call a user's own code with each normalised tick.

Each handler has its own thread, event loop and bounded queue. So a handler that is slow, blocks or
fails loses only its own ticks: ticks that do not fit into its queue are dropped and counted.
The consumer passes on columns; the handler's thread makes ticks of them.

The last tick of each instrument needs no handler: `status.latest_ticks` reads the state of the consumers.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ingest.errors import ConfigError
from ingest.last_error import LastError
from ingest.market.time import utc_of_us
from ingest.model.ticks import TICK_COLUMN_NAMES, Floats

log = logging.getLogger(__name__)

QUEUE_TICKS_MAX = 20_000  # two seconds of the largest feed, 4.5 MB of columns
_PLAIN = {"ts", "ltt", "received_at"}  # times; all other columns are numbers
_WHOLE = {"seq", "ltq", "vtt", "volume", "oi", "bid_qty", "ask_qty"}


class Tick(NamedTuple):
    """One update of one instrument, with the vendor's field names; None: no value was sent.

    Prices are in rupees, quantities in units, times aware UTC.
    """

    ts: datetime  # time of the trade, or of the frame if the update reports no trade
    instrument_key: str
    seq: int
    traded: bool  # True: it reports a trade; False: only the book changed
    ltp: float | None
    ltq: int | None
    ltt: datetime | None
    vtt: int | None
    volume: int | None  # increase of vtt since the last update
    oi: int | None
    atp: float | None
    tbq: float | None
    tsq: float | None
    bidP: float | None  # noqa: N815  the vendor's name, like the next three
    bidQ: int | None  # noqa: N815
    askP: float | None  # noqa: N815
    askQ: int | None  # noqa: N815
    iv: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    rho: float | None
    open: float | None  # open of the day, like high and low
    high: float | None
    low: float | None
    cp: float | None
    received_at: datetime | None
    symbol: str | None  # trading symbol, such as "NIFTY FUT 29 DEC 26"; None: no instrument master has it


assert len(Tick._fields) == len(TICK_COLUMN_NAMES) + 1


OnTick = Callable[[Tick], Awaitable[None]]


class Names(NamedTuple):
    """Keys and trading symbols by instrument id; an unknown symbol is absent or None."""

    keys: Mapping[int, str]
    symbols: Mapping[int, str | None]


def ticks_of(rows: Floats, names: Names) -> list[Tick]:
    """Convert rows to ticks, in the same order.

    Parameters
    ----------
    rows
        Shape (rows, 28), float64, columns as `TICK_COLUMNS`, NaN for NULL.
    names
        Names of all instruments in the rows.
    """
    columns: list[list[object]] = []
    for name, values in zip(TICK_COLUMN_NAMES, rows.T.tolist(), strict=True):
        if name == "instrument_id":
            columns.append([names.keys[int(value)] for value in values])
            symbols: list[object] = [names.symbols.get(int(value)) for value in values]
        elif name == "traded":
            columns.append([value == 1.0 for value in values])
        elif name in _PLAIN:
            columns.append([utc_of_us(value) if value == value else None for value in values])  # noqa: PLR0124
        else:
            make: Callable[[float], object] = int if name in _WHOLE else float
            columns.append([make(value) if value == value else None for value in values])  # noqa: PLR0124
    return [Tick._make(row) for row in zip(*columns, symbols, strict=True)]


class Handler:
    """One handler with its counters: offered = handled + failed + dropped + waiting.

    Parameters
    ----------
    name
        Name in the status.
    call
        Awaited for each tick; ticks of one instrument come in order of arrival.
    queue_ticks_max
        Maximum number of ticks in the queue.
    """

    def __init__(self, name: str, call: OnTick, *, queue_ticks_max: int = QUEUE_TICKS_MAX) -> None:
        self.name = name
        self.dropped = self.handled = self.failed = 0
        self.error = LastError()  # cleared when a tick is handled
        self._taken = 0  # ticks put into the queue; like `handled` and `failed`, written by one thread only
        self._call = call
        self._ticks_max = queue_ticks_max
        self._queue: queue.SimpleQueue[tuple[Floats, Names] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"handler {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of ticks in the queue."""
        return self._taken - self.handled - self.failed

    def offer(self, rows: Floats, keys: Mapping[int, str], symbols: Mapping[int, str | None] | None = None) -> None:
        """Queue rows, or drop them if there is no room; the caller must not change them afterwards."""
        if self.waiting + len(rows) > self._ticks_max:
            self.dropped += len(rows)
            return
        self._taken += len(rows)
        self._queue.put((rows, Names(keys, symbols or {})))

    def close(self) -> None:
        """End the thread after the queued ticks, without waiting for it."""
        self._queue.put(None)

    def account(self) -> dict[str, object]:
        """Return the counters for the status."""
        return {
            "name": self.name,
            "handled": self.handled,
            "failed": self.failed,
            "dropped": self.dropped,
            "waiting": self.waiting,
            "last_error": self.error.account(),
        }

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (item := self._queue.get()) is not None:
                runner.run(self._handle(*item))

    async def _handle(self, rows: Floats, names: Names) -> None:
        for tick in ticks_of(rows, names):
            try:
                await self._call(tick)
            except Exception as exc:  # a user's code may raise anything; log it and go on with the next tick
                self.failed += 1
                if self.failed == 1:
                    log.exception("handler failed name=%s, further failures are counted only", self.name)
                self.error.happened(repr(exc))
            else:
                if self.error.lasts:
                    self.error.over()
                self.handled += 1


def load_handler(place: str) -> Handler:
    """Load the handler `module:function` from a module in the current folder or on the Python path.

    Raises
    ------
    ConfigError
        If it does not exist, its module fails, or it is not an async function.
    """
    module, _, name = place.partition(":")
    # The path of an installed command lacks the current folder. It goes last, so that no file in it hides a library.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        call = getattr(importlib.import_module(module), name)
    except Exception as exc:  # whatever the user's own code raises
        what = f"{type(exc).__name__}: {exc}" if not isinstance(exc, (ImportError, AttributeError)) else exc
        raise ConfigError(f"handler {place!r} cannot be loaded: {what}: give it as module:function") from exc
    check_handler(call, place, name)
    return Handler(place, call)


def check_handler(call: object, place: str, name: str = "on_tick") -> None:
    """Raise ConfigError unless `call` is an async function, or an object that can be called like one."""
    if not (inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))):  # noqa: B004
        raise ConfigError(f"handler {place!r} is not an async function: write `async def {name}(tick)`")


def name_of(call: object) -> str:
    """Return the name of a handler in the status."""
    return str(getattr(call, "__qualname__", None) or type(call).__qualname__)
