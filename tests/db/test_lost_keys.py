"""Gaps of a lost collector: from its newest tick until the instrument is received again; its minutes say `gap`.

And what is noted, so that any writer can name them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.database.connections import Database
from ingest.database.pool import Pool
from ingest.database.queries import query
from ingest.live.distributed.lost_keys import close_gaps, has_open_gaps, open_gaps
from ingest.live.distributed.member import Member, Memory
from ingest.transport.http_collector import HttpCollector
from ingest.universe.connection_plan import AccountLimits
from tests.engines import on_one_engine
from tests.fault.harness import rows

AT = datetime(2026, 11, 27, 5, 0, tzinfo=UTC)
KEYS = ["NSE_FO|1", "NSE_FO|2", "NSE_FO|3"]


def at(minutes: float) -> datetime:
    return AT + timedelta(minutes=minutes)


def ledger(connection: Any, collector: str, segment: str, minutes: float) -> None:
    connection.execute(
        "insert into tickline.ledger (collector, segment, offset_start, offset_end, frames, ticks, last_ts)"
        " values (%s, %s, 0, 1, 1, 1, %s)",
        (collector, f"1/{segment}", at(minutes)),
    )


def tick(connection: Any, number: int, minutes: float) -> None:
    connection.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at)"
        " select %(ts)s, instrument_id, 1, true, 100, 10, 1, %(ts)s from instruments where instrument_key = %(key)s",
        {"ts": at(minutes), "key": KEYS[number]},
    )


def test_gap_of_a_lost_collector_lasts_until_each_instrument_is_received_again(database: Database) -> None:
    with database.connect(autocommit=True) as connection:
        connection.cursor().executemany(
            "insert into instruments (instrument_key, segment) values (%s, 'NSE_FO')", [(key,) for key in KEYS]
        )
        connection.execute(query("shared/ensure_partitions"), {"start": AT, "end": AT})
        ledger(connection, "mumbai", "a", 0.0)
        ledger(connection, "mumbai", "b", 0.5)
        ledger(connection, "chennai", "a", 2.0)
        for number in range(3):
            tick(connection, number, 0.4)

        async def run() -> None:
            async with Pool(database.url) as pool:
                assert await open_gaps(pool, "nobody", KEYS, None, AT) == 0
                given = {"collectors": ["mumbai", "nobody"], "within_s": 60.0}
                assert [name for name, _ in await pool.rows("assign/newest_commits", given)] == ["mumbai"]
                assert await pool.rows("assign/newest_commits", given | {"within_s": 0.0}) == []
                assert await open_gaps(pool, "mumbai", KEYS, at(0.1), AT) == 3
                assert await open_gaps(pool, "mumbai", KEYS, None, AT) == 0
                assert await close_gaps(pool, KEYS[1:2], at(0.1), AT) == 1  # another clock: it does not end before
                assert await close_gaps(pool, KEYS[:2], at(7.25), AT) == 1
                assert await has_open_gaps(pool)
                # Lost again, and what it has received meanwhile is not committed yet.
                assert await open_gaps(pool, "mumbai", KEYS[:1], at(20.0), AT) == 1

        asyncio.run(run())
    found = rows(
        database,
        "select instrument_key, collector, connection, started_at, ended_at, reason from feed_gaps"
        " join instruments using (instrument_id) order by started_at, 1",
    )
    lost = ("mumbai", "*", at(0.5))
    assert found == [
        (KEYS[0], *lost, at(7.25), "collector lost"),
        (KEYS[1], *lost, at(0.5), "collector lost"),
        (KEYS[2], *lost, None, "collector lost"),
        (KEYS[0], "mumbai", "*", at(20.0), None, "collector lost"),
    ]
    unheard = "select array_agg(bucket order by bucket), min(quality) from unheard_minutes group by instrument_id"
    marked = rows(database, f"{unheard} order by instrument_id")
    assert marked == [([at(m) for m in (0, 5, 6, 7, 20)], "gap"), ([at(0)], "gap"), ([at(0)], "gap")]
    best = rows(
        database, "select quality from best_bars_1m where bucket < '2026-11-27 05:01+00' order by instrument_id"
    )
    assert best == [("gap",)] * 3


@on_one_engine
def test_what_collectors_have_is_noted_when_it_changes_and_a_loss_that_was_named_is_not_named_again(
    database: Database,
) -> None:
    keys = dict.fromkeys(KEYS, "full")

    def member(address: str) -> Member:
        return Member(HttpCollector(f"https://{address}:8791", "token"))

    def noted() -> list[tuple[Any, ...]]:
        return rows(database, "select collector, source, keys from tickline.collectors order by 1")

    async def run() -> None:
        async with Pool(database.url) as pool:
            mumbai, twin, own, nobody = member("a"), member("b"), member("c"), member("d")
            mumbai.name, mumbai.keys, mumbai.account, mumbai.error = "mumbai", keys, AccountLimits(5, plus=True), ""
            twin.name, own.name, own.refuses = "mumbai", "pune", "it has keys of its own"
            memory = Memory(pool, [twin, mumbai, own, nobody])
            await memory.note()
            assert noted() == [("mumbai", "https://a:8791", keys)]
            ((at,),) = rows(database, "select noted_at from tickline.collectors")
            await memory.note()
            assert rows(database, "select noted_at from tickline.collectors") == [(at,)]
            mumbai.given_up = ((KEYS[0],),)
            await memory.note()
            assert noted() == [("mumbai", "https://a:8791", dict.fromkeys(KEYS[1:], "full"))]
            mumbai.given_up = ()
            await memory.note()

            # Another writer: its members have not answered yet.
            other = member("a")
            memory = Memory(pool, [other, member("e")])
            await memory.recall()
            assert (other.name, other.keys, other.account) == ("mumbai", keys, AccountLimits(5, plus=True))
            assert memory.absent() == {} and memory.keys_of("mumbai") == keys and memory.keys_of("pune") is None
            other.lost = "it has not answered"
            await memory.note()
            assert noted() == [("mumbai", "https://a:8791", {})]
            # One that has waited for the lease and has heard mumbai earlier does not name it again.
            mumbai.error = "it has not answered"
            memory = Memory(pool, [mumbai])
            await memory.recall()
            assert (mumbai.name, mumbai.keys) == ("mumbai", {})
            # One that does not know the address.
            memory = Memory(pool, [member("e")])
            await memory.recall()
            assert memory.absent() == {"mumbai": {}}
            await memory.forget("mumbai")
            assert memory.absent() == {} and noted() == []

    asyncio.run(run())
