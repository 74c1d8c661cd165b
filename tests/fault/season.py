"""A market of several days by a clock that the test turns: what it plays, and who waits on it.

Owns the clock (`Dial`), the run (`turned`) and the source (`Season`). The market is small and scripted, so that what
should be subscribed at a time can be said without the program's own rules.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from ingest.database.connections import Database
from ingest.live.ingestion import Ingestion
from ingest.live.supervisor import Run, start
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.settings import settings
from ingest.simulator.server.app import Simulator
from ingest.simulator.server.faults import Faults
from ingest.simulator.source import SEGMENTS, Instrument, MarketFrame, MinuteBar, Source
from ingest.time_source import TimeSource
from ingest.universe.keeper import UniverseKeeper
from tests.fault.harness import WITHIN_S
from tests.fault.live import until
from tests.simulated import settings_for

IST = timedelta(hours=5, minutes=30)
MONDAY, FIRST, SECOND = date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 18)
EXPIRIES = [FIRST + timedelta(days=7 * week) for week in range(3)]  # of options; the first is also the front month's
MONTHS = [FIRST, FIRST + timedelta(days=28), FIRST + timedelta(days=63)]
STRIKES = range(25_750, 26_450, 50)
SPOT, SHARE = "NSE_INDEX|Nifty 50", "NSE_EQ|INE009A01021"
EVERY_S = 5  # a frame of spot, share and futures; options in turn, each of them every 30 s
TURNS = 6
WAITING = {"market player", "watch", "universe"}  # tasks that have done what was due


def at(day: date, hour: int, minute: int, second: int = 0) -> datetime:
    """Return an Indian time, aware UTC."""
    return datetime.combine(day, time(hour, minute, second), UTC) - IST


class Dial(TimeSource):
    """A clock that stands until it is turned."""

    def __init__(self, begin: datetime) -> None:
        self._s = begin.timestamp()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self.sleepers: set[str] = set()  # tasks that wait

    def now_us(self) -> int:
        return int(self._s * 1e6)

    def monotonic(self) -> float:
        return self._s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._s + seconds, next(self._numbers), future))
        task = asyncio.current_task()
        assert task is not None
        self.sleepers.add(task.get_name())
        try:
            await future
        finally:
            self.sleepers.discard(task.get_name())

    def turn(self, seconds: float) -> None:
        """Move on, and wake who is due."""
        self._s += seconds
        while self._waiting and self._waiting[0][0] <= self._s + 1e-6:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)


class Turned:
    """`start` and a simulator that share a dial, and how the time is moved on."""

    def __init__(self, dial: Dial, simulator: Simulator, running: asyncio.Task[Run], ingestion: Ingestion) -> None:
        self.dial, self.simulator, self.ingestion = dial, simulator, ingestion
        self.feed = ingestion.streams[0].feed
        self._running = running
        self._lost = 0

    async def to(self, then: datetime, step_s: float = 10.0) -> None:
        """Turn the clock to a time, step by step; after each, both sides have done what was due."""
        while (left_s := (then - self.dial.now()).total_seconds()) > 0:
            self.dial.turn(min(step_s, left_s))
            await self.settled()

    async def settled(self) -> None:
        """Wait until what was asked for and sent has arrived, and who waits for the clock waits."""
        for _ in range(2):  # what one side did may be for the other
            await asyncio.sleep(0.002)
            async with asyncio.timeout(WITHIN_S):
                while not self._is_settled():
                    await asyncio.sleep(0.002)

    def _is_settled(self) -> bool:
        if self._running.done():
            self._running.result()
        feed, stream = self.feed, self.ingestion.streams[0]
        on_the_way = self.simulator.frames_sent - feed.stats.frames
        if not feed.connected:
            if self.simulator.player.connections or f"feed {feed.name}" not in self.dial.sleepers:
                return False  # it asks, or is on its way out
            self._lost = on_the_way  # with the connection
        elif self.subscribed != set(feed.keys) or on_the_way != self._lost:
            return False
        sent = all(connection.is_idle for connection in self.simulator.player.connections)
        consumer, state = stream.consumer, stream.consumer.state
        taken = (
            consumer._read is None
            and consumer._batch is None
            and (state.read_seq == state._taken_seq or bool(state.strays._waiting))
        )
        written = not feed.write_queue._records and not stream.reader.backlog_bytes()
        return sent and taken and written and self.dial.sleepers >= WAITING

    @property
    def subscribed(self) -> set[str]:
        """What the server sends."""
        return set(self.simulator.subscribed)

    @property
    def attempts(self) -> int:
        """How often a feed URI was asked for."""
        return self.simulator.asked["authorize"]


@asynccontextmanager
async def turned(
    database: Database,
    home: Path,
    source: Source,
    dial: Dial,
    port: int = 0,
    faults: Faults | None = None,
    **given: Any,
) -> AsyncIterator[Turned]:
    """Run `start` with a universe on a source, both by the dial."""
    async with Simulator(source, port=port, settle_s=0.0, faults=faults, time_source=dial) as simulator:
        values: dict[str, Any] = settings_for(simulator, home) | {
            "subscribe_interval_ms": 0,
            "backfill_s": 0,
        }
        config = settings(**values | given)
        keeper = UniverseKeeper(config, database.url)
        keys = (await keeper.wanted(dial.now())).keys
        stop, seen = asyncio.Event(), list[Run]()
        running = asyncio.create_task(
            start(config, database.url, keys, stop=stop, keeper=keeper, ready=seen.append, time_source=dial)
        )
        await until(lambda: bool(seen) or running.done())
        if running.done():
            await running
        assert seen[0].ingestion is not None
        try:
            run = Turned(dial, simulator, running, seen[0].ingestion)
            await until(lambda: run.feed.connected and run.subscribed == set(keys))  # the clock stands until then
            yield run
        finally:
            stop.set()
            await running


class Season:
    """Two trading days with the night between: NIFTY, its futures and options, and one share.

    Parameters
    ----------
    clock
        Returns the time, for the master of the day.
    spot
        Returns NIFTY at a time, rupees.
    """

    title = "two days"

    def __init__(self, clock: Callable[[], datetime], spot: Callable[[datetime], float]) -> None:
        self._clock, self._spot = clock, spot
        self._begin = clock()
        self._rows = _master()
        self.keys = frozenset(row["instrument_key"] for row in self._rows)
        self.futures = {
            row["expiry_day"]: row["instrument_key"] for row in self._rows if row["instrument_type"] == "FUT"
        }
        self.options: dict[tuple[date, int], set[str]] = {}
        for row in self._rows:
            if row["instrument_type"] in {"CE", "PE"}:
                self.options.setdefault((row["expiry_day"], int(row["strike_price"])), set()).add(row["instrument_key"])
        # Options that trade in the same frame, each with its last day.
        self._turns: list[list[tuple[str, date]]] = [[] for _ in range(TURNS)]
        for number, ((expiry, _), keys) in enumerate(self.options.items()):
            self._turns[number % TURNS] += [(key, expiry) for key in sorted(keys)]

    def instruments(self) -> Sequence[Instrument]:
        """The master of the day: from half past six on without what has expired, with a week more of options."""
        day = (self._clock() + IST - timedelta(hours=6, minutes=30)).date()
        last = EXPIRIES[1] if day <= FIRST else EXPIRIES[2]
        return [
            {name: value for name, value in row.items() if name != "expiry_day"}
            for row in self._rows
            if row["expiry_day"] is None
            or (row["instrument_type"] == "FUT" and row["expiry_day"] >= day)
            or day <= row["expiry_day"] <= last
        ]

    def opening(self) -> Sequence[MarketFrame]:
        """As the last session left it."""
        closed = at(MONDAY, 15, 29)
        ms = int(self._begin.timestamp() * 1000)
        return [MarketFrame(ms, {key: self._feed(key, closed, closed) for key in sorted(self.keys)})]

    def frames(self) -> Iterator[MarketFrame]:
        """Frames of both days; of a closed market one in a minute that says nothing."""
        yield self.opening()[0]
        now = self._begin
        for number in count(1):
            now += timedelta(seconds=EVERY_S)
            if now > at(SECOND, 10, 0):
                return
            open_ = self._open_at(now + IST, number)
            if open_ or now.second == 0:
                feeds = {key: self._feed(key, now, now) for key in open_}
                yield MarketFrame(int(now.timestamp() * 1000), feeds)

    def minute_bars(self, key: str) -> Sequence[MinuteBar]:
        """There are none: nobody asks."""
        return []

    def segment_status(self, current_ms: int) -> dict[str, int]:
        """The exchange's day: pre-open, open, derivatives to 15:40, shares in the closing session after it."""
        now = datetime.fromtimestamp(current_ms / 1000, UTC)
        hour = (now + IST).time()
        found = {}
        for segment in SEGMENTS:
            closes = time(15, 40) if segment.endswith("_FO") else time(15, 30)
            if time(9) <= hour < time(9, 8):
                found[segment] = pb.PRE_OPEN_START
            elif time(9, 8) <= hour < time(9, 15):
                found[segment] = pb.PRE_OPEN_END
            elif time(9, 15) <= hour < closes:
                found[segment] = pb.NORMAL_OPEN
            elif segment == "NSE_EQ" and time(15, 40) <= hour < time(16):
                found[segment] = pb.CLOSING_START
            else:
                found[segment] = pb.NORMAL_CLOSE
        return found

    def _open_at(self, there: datetime, number: int) -> list[str]:
        """Return what trades in a frame, at a time on the exchange's clock."""
        hour, day = there.time(), there.date()
        if not time(9, 15) <= hour < time(16):
            return []
        found = [SHARE]
        if hour < time(15, 40):
            contracts = [*((key, expiry) for expiry, key in self.futures.items()), *self._turns[number % TURNS]]
            found += [key for key, expiry in contracts if day <= expiry]
        if hour < time(15, 30):
            found.append(SPOT)
        return found

    def _feed(self, key: str, now: datetime, traded: datetime) -> pb.Feed:
        ltp = self._spot(now) if key == SPOT else 1_500.0 + int(now.timestamp()) % 7
        price = pb.LTPC(ltp=ltp, ltt=int(traded.timestamp() * 1000), cp=ltp)
        feed = pb.Feed(requestMode=pb.full_d5)
        if key == SPOT:
            feed.fullFeed.indexFF.ltpc.CopyFrom(price)
            return feed
        price.ltq = 65
        market = feed.fullFeed.marketFF
        market.ltpc.CopyFrom(price)
        opened = at((traded + IST).date(), 9, 15)
        market.vtt = 65 * (1 + int((traded - opened).total_seconds()) // EVERY_S)
        market.marketLevel.bidAskQuote.add(bidQ=65, bidP=ltp - 1, askQ=65, askP=ltp + 1)
        return feed


def _master() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"segment": "NSE_INDEX", "name": "Nifty 50", "trading_symbol": "NIFTY", "instrument_type": "INDEX"}
        | {"instrument_key": SPOT, "exchange": "NSE", "expiry_day": None},
        {"segment": "NSE_EQ", "name": "INFOSYS LIMITED", "trading_symbol": "INFY", "instrument_type": "EQ"}
        | {"instrument_key": SHARE, "exchange": "NSE", "lot_size": 1, "tick_size": 5.0, "expiry_day": None},
    ]
    tokens = count(50_000)
    contracts: list[tuple[str, date, int]] = [("FUT", expiry, 0) for expiry in MONTHS]
    contracts += [(kind, expiry, strike) for expiry in EXPIRIES for strike in STRIKES for kind in ("CE", "PE")]
    for kind, expiry, strike in contracts:
        what = "FUT" if kind == "FUT" else f"{strike} {kind}"
        rows.append(
            {"segment": "NSE_FO", "name": "NIFTY", "exchange": "NSE", "instrument_type": kind, "lot_size": 65}
            | {"instrument_key": f"NSE_FO|{next(tokens)}", "strike_price": float(strike), "tick_size": 5.0}
            | {"expiry": int(at(expiry, 23, 59, 59).timestamp()) * 1000, "expiry_day": expiry}
            | {"underlying_key": SPOT, "trading_symbol": f"NIFTY {what} {expiry:%d %b %y}".upper()}
        )
    return rows
