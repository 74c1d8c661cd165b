"""Blocking code over the pool: on a thread, over the same few connections, which are given back."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.database.pool import Pool
from ingest.errors import Retryable, StoreError
from ingest.settings import settings
from ingest.universe.keeper import UniverseKeeper, follow
from ingest.upstox.rest import UpstoxApi
from tests.db.pools import OURS, used
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, wait_until
from tests.fault.live import until
from tests.fault.proxy import Proxy
from tests.simulated import NOWHERE

OTHERS = """
    select 1 from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""
ASLEEP = f"{OURS} and wait_event = 'PgSleep'"


def sessions(conn: psycopg.Connection[Any]) -> int:
    """Return how many sessions this database has had, also those that have ended; only ours may be open."""
    wait_until(lambda: not conn.execute(OTHERS).fetchall())  # a session is counted before it is gone from there
    conn.execute("select pg_stat_force_next_flush()")  # ours would be counted within a minute
    row = conn.execute("select sessions from pg_stat_database where datname = current_database()").fetchone()
    assert row is not None
    return int(row[0])


def backend(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


@on_one_engine
def test_calls_run_beside_the_loop_on_one_connection_with_our_settings(database: Database) -> None:
    async def work(pool: Pool) -> None:
        def call(connection: psycopg.Connection[Any]) -> tuple[int, threading.Thread]:
            with connection.transaction():
                connection.execute("create temporary table here (number int) on commit drop")
                with connection.cursor().copy("copy here from stdin") as copy:
                    copy.write_row((1,))
                assert connection.execute("select * from here").fetchall() == [(1,)]
            assert connection.execute("show timezone").fetchone() == ("UTC",)
            return backend(connection), threading.current_thread()

        found = [await pool.on_thread(call) for _ in range(20)]
        async with pool.connection() as connection:
            assert connection.info.backend_pid == found[0][0]
        assert len({pid for pid, _ in found}) == 1
        assert not any(thread is threading.main_thread() for _, thread in found)
        assert pool.account() == {"size": 1, "size_max": 3, "idle": 1, "waiting": 0}

    used(database.url, work, size_max=3)


@on_one_engine
def test_error_of_a_call_is_ours_and_leaves_nothing_in_its_connection(database: Database) -> None:
    async def work(pool: Pool) -> None:
        before = await pool.on_thread(backend)
        with pytest.raises(StoreError, match="division by zero"):
            await pool.on_thread(lambda connection: connection.execute("select 1 / 0"))
        with pytest.raises(LookupError):
            await pool.on_thread(lambda connection: connection.execute("begin") and {}["no"])
        assert await pool.on_thread(backend) == before
        with pytest.raises(Retryable):
            await pool.on_thread(lambda connection: connection.execute("select pg_terminate_backend(pg_backend_pid())"))
        assert await pool.on_thread(backend) != before

    used(database.url, work)


@on_one_engine
def test_cancelled_call_is_broken_off_and_its_connection_given_back_when_its_thread_has_left(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    begun, held, ended = threading.Event(), threading.Event(), list[BaseException]()

    def call(connection: psycopg.Connection[Any]) -> None:
        begun.set()
        held.wait(WITHIN_S)
        try:
            connection.execute("select pg_sleep(1000)")
        except BaseException as exc:
            ended.append(exc)
            raise

    async def work(pool: Pool) -> None:
        for is_asleep in (False, True):
            begun.clear(), held.clear(), ended.clear()
            before = await pool.on_thread(backend)
            running = asyncio.create_task(pool.on_thread(call))
            await until(begun.is_set)
            if is_asleep:
                held.set()
                await until(lambda: conn.execute(ASLEEP).fetchone())
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled() and (is_asleep or pool.account()["idle"] == 0)
            held.set()
            assert await pool.on_thread(backend) != before
            assert [type(error) for error in ended] == [psycopg.OperationalError]

    used(database.url, work)


@on_one_engine
def test_silent_server_holds_up_neither_a_cancelled_call_nor_the_end(database: Database, tmp_path: Path) -> None:
    async def work(pool: Pool) -> None:
        await pool.on_thread(backend)
        proxy.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await pool.on_thread(backend)

    with Proxy(database.url, tmp_path / "p") as proxy:
        used(proxy.url, work)


@on_one_engine
def test_universe_is_followed_over_one_connection(
    database: Database, conn: psycopg.Connection[Any], home: Path
) -> None:
    config = settings(
        home=home,
        upstox_assets_url=NOWHERE,
        upstox_api_url=NOWHERE,
        backoff_max_s=0.01,
        universe="NSE_EQ|INE002A01018",
    )
    found: list[set[int]] = []

    class Counted(UniverseKeeper):
        async def wanted(self, *given: Any) -> Any:
            universe = await super().wanted(*given)
            found.append({pid for (pid,) in conn.execute(OURS)})
            if len(found) > 20:  # a call that is cancelled breaks its connection, for which the pool opens another
                await asyncio.Event().wait()
            return universe

    async def work(pool: Pool) -> None:
        async with UpstoxApi(config) as api:
            keeper = Counted(config, database.url)
            following = asyncio.create_task(follow(keeper, lambda _: None, api, every_s=0.001, pool=pool))
            await until(lambda: len(found) > 20)
            following.cancel()
            await asyncio.wait({following})

    before = sessions(conn)
    used(database.url, work, size_max=4)
    assert sessions(conn) - before == 1
    assert len(set().union(*found)) == 1
