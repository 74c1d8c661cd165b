"""The pool: few connections, reused; every wait ends."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.database.connections import Database
from ingest.database.pool import Pool, run_with_pool
from ingest.database.queries import query
from ingest.errors import ConfigError, Retryable, StoreError
from tests.db.pools import OURS, settled, used
from tests.db.test_status import API, asked, served
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, wait_until
from tests.fault.live import running, until
from tests.simulated import free_port

BACKEND = "select pg_backend_pid()"
LOCK = "select pg_advisory_lock(7)"
ACTIVITY = """
    select pid, query from pg_stat_activity
    where datname = current_database() and application_name like 'tickline%' and query <> ''
        and application_name <> 'tickline once'
"""
LEASES = """
    select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tickline once'
"""


async def backend(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute(BACKEND)).fetchone()
        assert row is not None
        return int(row[0])


def pids(conn: psycopg.Connection[Any]) -> set[int]:
    return {pid for (pid,) in conn.execute(OURS)}


@on_one_engine
def test_many_questions_share_few_connections_which_end_with_the_pool(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    async def ask(pool: Pool) -> set[int]:
        found = set(await asyncio.gather(*(backend(pool) for _ in range(200))))
        account = await settled(pool)
        assert len(found) <= account["size"] <= account["size_max"] == 3 and account["waiting"] == 0
        return found

    assert 1 <= len(used(database.url, ask, size_max=3)) <= 3

    async def ask_in_turn(pool: Pool) -> set[int]:
        return {await backend(pool) for _ in range(50)}

    assert len(used(database.url, ask_in_turn, size_max=3)) == 1
    wait_until(lambda: not pids(conn))


@on_one_engine
def test_connection_has_our_settings_and_takes_one_statement_a_transaction(database: Database) -> None:
    async def ask(pool: Pool) -> Any:
        async with pool.connection() as connection:
            cursor = await connection.execute("select current_setting('timezone'), current_setting('search_path')")
            return await cursor.fetchone(), connection.info.transaction_status

    settings, status = run_with_pool(database.url, ask)
    assert settings[0] == "UTC" and settings[1].startswith("public")
    assert status == psycopg.pq.TransactionStatus.IDLE


@on_one_engine
def test_idle_connections_that_the_server_ended_are_never_lent(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    async def ask(pool: Pool) -> None:
        for _ in range(3):
            await asyncio.gather(*(backend(pool) for _ in range(4)))
            await settled(pool)
            conn.execute(f"select pg_terminate_backend(pid, 10000) from ({OURS}) as ours")
        assert await backend(pool) in pids(conn)

    used(database.url, ask, size_max=4)


@on_one_engine
def test_wait_that_is_cancelled_as_its_connection_comes_is_cancelled(database: Database) -> None:
    async def ask(pool: Pool) -> None:
        async def keep() -> None:
            async with pool.connection():
                await asyncio.sleep(3600)

        for turns in range(30):
            async with pool.connection():
                waiting = asyncio.create_task(keep())
                while not pool.account()["waiting"]:
                    await asyncio.sleep(0)
            for _ in range(turns):  # somewhere on the way of the connection from us to the one that waits
                await asyncio.sleep(0)
            waiting.cancel()
            done, _ = await asyncio.wait({waiting}, timeout=WITHIN_S)
            assert done and waiting.cancelled()
        assert await backend(pool)

    used(database.url, ask, size_max=1)


@on_one_engine
def test_cancelled_wait_ends_its_statement_and_its_connection(
    database: Database, conn: psycopg.Connection[Any]
) -> None:
    async def ask(pool: Pool) -> None:
        conn.execute(LOCK)

        async def lock() -> None:
            async with pool.connection() as connection:
                await connection.execute(LOCK)

        waiting = asyncio.create_task(lock())
        locks = f"select 1 from pg_locks where not granted and pid in ({OURS})"
        await asyncio.to_thread(wait_until, lambda: conn.execute(locks).fetchone())
        before = pids(conn)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(wait_until, lambda: not before & pids(conn))
        assert await backend(pool) not in before

    used(database.url, ask)


@on_one_engine
def test_error_of_the_database_is_ours_and_its_connection_is_used_again(database: Database) -> None:
    async def ask(pool: Pool) -> None:
        before = await backend(pool)
        with pytest.raises(StoreError, match="division by zero"):
            async with pool.connection() as connection, connection.transaction():
                await connection.execute("select 1 / 0")
        assert await backend(pool) == before

    used(database.url, ask)


def test_refused_connection_ends_every_wait_with_what_is_wrong() -> None:
    port = free_port()

    async def ask(pool: Pool) -> list[Any]:
        return await asyncio.gather(*(backend(pool) for _ in range(5)), return_exceptions=True)

    for url, error in ((f"postgresql://127.0.0.1:{port}/x", Retryable), ("postgresql://a:b@c:d@e/x", ConfigError)):
        found = used(url, ask, size_max=2, wait_s=1e6)
        assert {type(one) for one in found} == {error}
        assert ("cannot be reached" in str(found[0])) == (error is Retryable)


@on_one_engine
def test_connections_that_are_all_used_are_waited_for_and_the_setting_is_named(database: Database) -> None:
    async def ask(pool: Pool) -> None:
        while not pool.account()["idle"]:
            await asyncio.sleep(0.01)
        async with pool.connection():
            with pytest.raises(Retryable, match="TICKLINE_POOL_MAX"):
                await backend(pool)
        assert await backend(pool)

    used(database.url, ask, size_min=1, wait_s=0.1)  # it is open before anybody waits


@on_one_engine
def test_smallest_number_of_connections_is_open_before_anybody_asks(database: Database) -> None:
    async def ask(pool: Pool) -> None:
        while pool.account()["idle"] < 2:
            await asyncio.sleep(0.01)
        assert pool.account() == {"size": 2, "size_max": 4, "idle": 2, "waiting": 0}

    used(database.url, ask, size_min=2, size_max=4)


@on_one_engine
def test_silent_server_holds_neither_a_wait_nor_the_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing, and one that falls silent in the middle."""
    monkeypatch.setattr("ingest.database.pool.CANCEL_S", 0.1)
    monkeypatch.setattr("ingest.database.pool.CLOSE_S", 0.1)

    async def ask(pool: Pool) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await backend(pool)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        used(f"postgresql://127.0.0.1:{silent.getsockname()[1]}/x", ask)

    async def ask_on(pool: Pool) -> None:
        with pytest.raises(TimeoutError):
            async with pool.connection() as connection, asyncio.timeout(0.1):
                # The server's answer goes nowhere: this end of the connection is another socket now.
                ours, _theirs = socket.socketpair()
                with ours, _theirs:
                    os.dup2(ours.fileno(), connection.fileno())
                    await connection.execute(BACKEND)

    used(database.url, ask_on)


@on_one_engine
def test_running_ingester_uses_the_connections_of_its_pool_again(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, bars and backfill query constantly; beside writer and leases there are never more than two backends."""
    monkeypatch.setattr("ingest.live.http.feed_routes.GAPS_KEPT_S", 0.0)
    monkeypatch.setattr("ingest.database.questions.ANSWERED_S", WITHIN_S)
    monkeypatch.setattr("ingest.live.background.REFRESH_S", 0.01)
    port = free_port()
    asked_for = ("live/gaps_today", "store/touched_ranges", "repair/unheard_days")
    unseen = {query(name).splitlines()[0] for name in asked_for}
    backends: set[int] = set()

    async def run() -> None:
        async with running(database, home, api_port=port, backfill_s=0.01, pool_max=2) as run:
            await run.live()
            await served(port)
            with database.connect(autocommit=True, application_name="looks on") as looks:
                # The sessions of the leases have another name at first.
                await until(lambda: looks.execute(LEASES).fetchone() == (2,))
                for number in itertools.count():
                    await asyncio.gather(*(asked(port, f"{API}/status") for _ in range(2)))
                    for pid, text in looks.execute(ACTIVITY):
                        backends.add(pid)
                        unseen.discard(text.splitlines()[0])
                    if number >= 50 and not unseen:
                        break
            assert run.ingestion.errors.account() == {}

    asyncio.run(run())
    assert 2 <= len(backends) <= 3
