"""Backfill: a market whose truth is known, a feed that breaks at random, and bars that are exact in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.audit.volume_check import verify_volumes
from ingest.cli.record.backfill import command as backfill_command
from ingest.database.connections import Database
from ingest.database.pool import Pool, run_with_pool
from ingest.errors import AuthorizationError
from ingest.live.supervisor import Run, start
from ingest.market.time import day_span
from ingest.repair.backfill import Backfill, Repair
from ingest.repair.backfill_store import Store, Task
from ingest.settings import Settings, settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.app import Simulator
from ingest.simulator.server.faults import Faults
from ingest.upstox.answers import Candle
from ingest.upstox.rest import UpstoxApi
from tests.engines import on_one_engine
from tests.simulated import NOWHERE, settings_for

DAY = date(2026, 1, 5)
SESSION = TradingDay(DAY, cash_closes=time(9, 25), derivatives_close=time(9, 26))
SPEED = 75.0
SESSION_OPEN = datetime.fromtimestamp(SESSION.open_ms / 1000, UTC)
EVENING = datetime(2026, 1, 5, 15, tzinfo=UTC)
BEST = """
    select instrument_key, (extract(epoch from bucket) * 1000)::int8, open, high, low, close, coalesce(volume, 0)
    from {} join instruments using (instrument_id)
"""


def configured(simulator: Simulator, home: Path, **given: Any) -> Settings:
    values = settings_for(simulator, home) | {"backoff_first_s": 0.05, "backoff_max_s": 0.1}
    values |= {"subscribe_interval_ms": 10, "backfill_s": 0}
    return settings(**values | given)


async def break_at_random(simulator: Simulator, rng: random.Random) -> None:
    """Cut the connections, and keep the client out for between 0 and 3 minutes of the market.

    Not near its end: a market that nobody listens to when it ends begins anew.
    """
    while True:
        await asyncio.sleep(rng.uniform(20, 120) / SPEED)
        if simulator.player.current_ms > SESSION.close_ms - 330_000:  # 2 s more than the client is out
            return
        simulator.faults.refuse = 403
        simulator.drop_all()
        await asyncio.sleep(rng.uniform(0, 180) / SPEED)
        simulator.faults.refuse = None


async def record(simulator: Simulator, database: Database, config: Settings, *, seed: int) -> Run:
    """Record the whole session through a feed that breaks."""
    stop = asyncio.Event()
    breaking = asyncio.create_task(break_at_random(simulator, random.Random(seed)))
    recording = asyncio.create_task(start(config, database.url, sorted(simulator.source.keys), stop=stop))
    async with asyncio.timeout(180):
        await simulator.finished.wait()
        await breaking
        await asyncio.sleep(0.5)
        stop.set()
        return await recording


def repaired(simulator: Simulator, database: Database, config: Settings, now: datetime) -> Any:
    async def run() -> Repair:
        async with UpstoxApi(config) as api, Pool(database.url) as pool:
            store = Store(pool)
            return await Backfill(api, store).run(await store.tasks(*day_span(DAY)), now)

    return run()


def bars_of(conn: psycopg.Connection[Any], relation: str) -> dict[tuple[str, int], tuple[Any, ...]]:
    return {row[:2]: row[2:] for row in conn.execute(BEST.format(relation))}


@on_one_engine
@pytest.mark.parametrize(
    "along", [pytest.param(False, id="afterwards", marks=pytest.mark.soak), pytest.param(True, id="along")]
)
def test_random_breaks_are_repaired_and_what_the_vendor_does_not_have_is_named(
    database: Database, conn: psycopg.Connection[Any], home: Path, along: bool
) -> None:
    market = GeneratedMarket(SESSION, seed=5, instruments=12, rate=60)
    missing_ms = SESSION.open_ms + 3 * 60_000
    missing = {(key, missing_ms) for key in sorted(market.keys)[:3]}

    async def whole() -> tuple[Repair, int]:
        faults = Faults(busy_every=9, no_candle=missing)
        async with Simulator(market, speed=SPEED, faults=faults) as simulator:
            config = configured(simulator, home, backfill_s=0.3 if along else 0)
            await record(simulator, database, config, seed=11)
            asked_along = simulator.rest.requests
            return await repaired(simulator, database, config, EVENING), asked_along

    repair, asked_along = asyncio.run(whole())
    truth = {tuple(bar[:2]): tuple(bar[2:]) for bar in market.truth()}
    assert len(truth) > 100
    # The vendor's bars are exact, and there is one of each minute but of those that it does not have.
    official = bars_of(conn, "official_bars_1m")
    assert {minute: truth[minute] for minute in official} == official
    lost = truth.keys() - official.keys()
    assert lost <= missing
    named = {(left.instrument_key, int(bucket.timestamp() * 1000)) for left in repair.left for bucket in left.buckets}
    assert named == {minute for minute in lost if minute in unheard(conn)}
    assert all("no bar of this minute" in left.reason for left in repair.left)
    best = bars_of(conn, "best_bars_1m")
    assert {minute: bar for minute, bar in best.items() if minute in official} == official
    assert best.keys() <= truth.keys()  # none is invented
    # Breaks were many, and all that nothing is left of are noted as repaired.
    gaps = conn.execute("select count(*), count(repaired_at) from feed_gaps where instrument_id is null").fetchone()
    assert gaps is not None
    assert gaps[0] >= 2
    assert named or gaps[0] == gaps[1]
    [volumes] = list(verify_volumes(conn))
    assert volumes.adds_up, volumes.problems
    assert (asked_along > 0) == along


def unheard(conn: psycopg.Connection[Any]) -> set[tuple[str, int]]:
    found = conn.execute(
        "select instrument_key, (extract(epoch from bucket) * 1000)::int8 "
        "from unheard_minutes join instruments using (instrument_id)"
    )
    return {(key, minute_ms) for key, minute_ms in found}


@pytest.fixture
def task(conn: psycopg.Connection[Any]) -> Task:
    """An instrument that was not heard for four minutes, of which one has the feed's bar and one our own."""
    [[id_]] = conn.execute(
        "insert into instruments (instrument_key, expiry) values ('NSE_FO|1', '2026-01-27') returning instrument_id"
    ).fetchall()
    conn.execute(
        "insert into unheard_minutes select %s, %s::timestamptz + n * interval '1 minute', 'gap' "
        "from generate_series(0, 3) as n",
        (id_, SESSION_OPEN),
    )
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "values (%s, %s, 1, 1, 1, 1, 5, 'I1')",
        (id_, SESSION_OPEN),
    )
    conn.execute("select tickline.ensure_partitions(%s, %s)", (SESSION_OPEN, SESSION_OPEN))
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "values (%s, %s, 1, true, 2, 10, 10, now())",
        (SESSION_OPEN + timedelta(minutes=1), id_),
    )
    return Task(id_, "NSE_FO|1", DAY, date(2026, 1, 27), SESSION_OPEN, SESSION_OPEN + timedelta(minutes=3), 4)


def candle(minute: int, price: float) -> Candle:
    return Candle(SESSION.open_ms + minute * 60_000, price, price, price, price, 7, 0)


def stored(database: Database, work: Callable[[Store], Awaitable[Any]]) -> Any:
    return run_with_pool(database.url, lambda pool: work(Store(pool)))


def test_fill_keeps_what_is_there_counts_what_differs_and_believes_what_it_is_told(
    database: Database, conn: psycopg.Connection[Any], task: Task
) -> None:
    start, end = day_span(DAY)
    assert stored(database, lambda store: store.tasks(start, end)) == [task]
    # Minute 0 is there otherwise, 1 is ours and the vendor has none, 2 is new, in 3 nobody traded.
    candles = [candle(0, 9.0), candle(2, 3.0)]
    for counts in ((1, 1, 3), (0, 1, 0)):
        assert stored(database, lambda store: store.fill(task, candles, "intraday", start, end)) == counts
    assert conn.execute("select close, source from official_bars_1m order by bucket").fetchall() == [
        (1.0, "I1"),
        (3.0, "intraday"),
    ]
    assert stored(database, lambda store: store.unheard(task)) == [SESSION_OPEN + timedelta(minutes=1)]
    assert conn.execute("select source, quality from best_bars_1m order by bucket").fetchall() == [
        ("official", "complete"),
        ("ticks", "gap"),
        ("backfill", "complete"),
    ]


def test_fill_without_an_end_says_nothing_of_minutes_that_are_not_there(database: Database, task: Task) -> None:
    start = day_span(DAY)[0]
    assert stored(database, lambda store: store.fill(task, [candle(2, 3.0)], "ohlc", start, None)) == (1, 0, 2)
    assert len(stored(database, lambda store: store.unheard(task))) == 2


def test_expired_contract_is_not_asked_for(database: Database, task: Task, home: Path) -> None:
    async def run() -> Repair:
        async with Simulator(GeneratedMarket(SESSION, instruments=5, rate=20)) as simulator:
            async with UpstoxApi(configured(simulator, home)) as api, Pool(database.url) as pool:
                found = await Backfill(api, Store(pool)).run([task], datetime(2026, 2, 1, tzinfo=UTC))
            assert simulator.rest.requests == 0
            return found

    [left] = asyncio.run(run()).left
    assert "expired" in left.reason
    assert len(left.buckets) == 3  # of the first the feed brought its bar


def test_wrong_token_ends_the_backfill(database: Database, task: Task, home: Path) -> None:
    async def run() -> None:
        async with Simulator(GeneratedMarket(SESSION, instruments=5, rate=20)) as simulator:
            async with (
                UpstoxApi(configured(simulator, home, upstox_access_token="wrong")) as api,
                Pool(database.url) as pool,
            ):
                await Backfill(api, Store(pool)).last_minute([task], SESSION_OPEN + timedelta(seconds=90))

    with pytest.raises(AuthorizationError, match="401"):
        asyncio.run(run())


def test_last_minute_is_asked_for_many_at_once(database: Database, task: Task, home: Path) -> None:
    async def run() -> Repair:
        market = GeneratedMarket(SESSION, instruments=5, rate=20)
        key = sorted(market.keys)[0]
        frames = market.frames()
        while next(frames).current_ms < SESSION.open_ms + 90_000:
            pass
        async with Simulator(market) as simulator:
            simulator.player.current_ms = SESSION.open_ms + 90_000
            async with UpstoxApi(configured(simulator, home)) as api, Pool(database.url) as pool:
                now = datetime.fromtimestamp(simulator.player.current_ms / 1000, UTC)
                return await Backfill(api, Store(pool)).last_minute([task._replace(instrument_key=key)], now)

    repair = asyncio.run(run())
    assert (repair.requests, repair.differing, repair.repaired) == (1, 1, 1)


def test_command_names_what_it_could_not_repair_and_fails(
    database: Database, task: Task, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a contract that has expired nothing can be had."""
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    monkeypatch.setenv("TICKLINE_HOME", str(home))
    monkeypatch.setenv("UPSTOX_ACCESS_TOKEN", "never-sent")
    done = CliRunner().invoke(backfill_command, [])
    assert (done.exit_code, "1 minutes and 0 gaps repaired with 0 requests" in done.stdout) == (1, True)
    assert "NSE_FO|1: 3 minutes from 2026-01-05 09:16:00 IST: contract has expired" in done.stderr
    assert "3 minutes of 1 instruments could not be repaired" in done.stderr
    for name in ("UPSTOX_API_URL", "UPSTOX_ASSETS_URL"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("TICKLINE_BACKOFF_MAX_S", "0.01")
    with database.connect(autocommit=True) as connection:
        connection.execute("update instruments set trading_symbol = 'NIFTY FUT 05 JAN 26'")
    named = CliRunner().invoke(backfill_command, ["nifty fut 05 jan 26"])
    assert "  nifty fut 05 jan 26: 3 minutes from 2026-01-05 09:16:00 IST" in named.stderr, named.output
    other_day = CliRunner().invoke(backfill_command, ["--day", "2026-01-06"])
    assert (other_day.exit_code, other_day.stderr) == (0, "")
