"""One universe over two collectors: each key at one of them; those of a lost one go to the other, and come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ingest.database.connections import Database
from ingest.live.distributed import assigned, assigning
from ingest.live.distributed.writer_api import _metrics
from ingest.live.distributed.writing import Writing, assignable, sources_of, write
from ingest.live.observe import health
from ingest.model.records import RecordKind
from ingest.settings import Settings
from ingest.simulator.server.app import Simulator
from ingest.universe import connection_plan
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, records_of, rows
from tests.fault.live import Running, market, until
from tests.fault.test_collect import asked
from tests.simulated import NOWHERE, free_port

NAMES = ("mumbai", "chennai")
TOKEN = "a-token-of-all-journals"
# Instruments with more trades stored twice than there were losses of a collector. One repetition for each loss is
# allowed: a collector that is back within the same minute counts its first update as a trade.
TWICE = """
    with repeated as (
        select instrument_id from ticks where traded and volume > 0 group by instrument_id, vtt having count(*) > 1
    )
    select count(*) from (select instrument_id from repeated group by 1 having count(*) > {0}) as instruments
"""
JOINED = "join instruments using (instrument_id) where"
LOST = "from feed_gaps where reason = 'collector lost'"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigning, "LOOK_S", 0.1)
    monkeypatch.setattr(assigning, "CLOSE_S", 0.2)
    monkeypatch.setattr(assigning, "BEAT_S", 0.02)
    monkeypatch.setattr(assigning, "HELD_UP_S", 0.2)
    monkeypatch.setattr(assigned, "LOOK_S", 0.02)


def token(home: Path) -> str:
    return (home / "journal-token").read_text().strip()


def make_token(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "journal-token").write_text(TOKEN)
    (home / "journal-token").chmod(0o600)


def config_of_writer(home: Path, keys: list[str]) -> Settings:
    return Settings(
        home=home / "writer",
        collector_token=SecretStr(TOKEN),
        api_port=0,
        universe=tuple(keys),
        collector_lost_s=3.0,  # a busy machine answers later than in one
        universe_follow_s=0.2,
        backoff_max_s=0.01,  # of requests to nowhere
        upstox_assets_url=NOWHERE,
        upstox_api_url=NOWHERE,
    )


def connections_in(home: Path, collector: str) -> int:
    """How often the collector connected to the feed."""
    records = [record for _, record in records_of(home / "journal" / collector / "1")]
    return sum(record.kind == RecordKind.CONNECTED for record in records)


def test_collector_without_keys_records_what_it_is_given_and_goes_on_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigned, "WORD_S", 0.3)
    monkeypatch.setattr(health, "READ_WITHIN_S", 0.0)
    port = free_port()

    async def give(keys: list[str], database: str = "ledger", mode: str = "full") -> dict[str, Any]:
        body = {"database": database, "keys": dict.fromkeys(keys, mode)}
        answer: dict[str, Any] = await asyncio.to_thread(asked, port, "/universe", body, token(home))
        return answer

    async def say(known: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(asked, port, f"/universe?known={known}")
        return answer

    async def run() -> None:
        async with Simulator(market(12), speed=1.0) as simulator:
            keys = sorted(simulator.source.keys)
            first = Running(simulator, None, home, journal_port=port)
            await first.begin([])
            await until(lambda: first.ingestion.journal_server.error == "")  # type: ignore[union-attr]
            said = await say()
            assert (said["keys"], said["hears"], said["refuses"], said["awaits"]) == ({}, False, "", True)
            assert said["account"] == {"connections": 2, "plus": False, "standby": False}
            (waits,) = [one.text for one in health.conditions(first.ingestion) if one.id == "no_writer"]
            assert waits.startswith("no writer has given keys for ")
            assert await give(keys[:8]) == {"keys": 8}
            assert not any("has given keys" in one.text for one in health.conditions(first.ingestion))
            await until(lambda: first.confirmed == 8)
            await give(keys[4:])  # without another connection
            await until(lambda: first.confirmed == 8 and set(first.ingestion.keys) == set(keys[4:]))
            said = await say()
            assert said["hears"] and not said["awaits"] and set(said["keys"]) == set(keys[4:])
            assert (await say(said["digest"]))["keys"] is None
            for refused, why in (
                (give(keys, "another"), "belongs to database 'ledger', not to 'another'"),
                (give(["INFY"]), "'INFY' is no instrument key"),
                (give([f"NSE_FO|{number}" for number in range(4_001)]), "4,001 full keys do not fit"),
                (give(keys, mode="all"), "with mode 'all' cannot be recorded"),
            ):
                with pytest.raises(OSError) as error:
                    await refused
                assert why in json.loads(error.value.read())["error"]  # type: ignore[attr-defined]
            with pytest.raises(OSError, match="401"):
                await asyncio.to_thread(asked, port, "/universe", {"database": "ledger", "keys": {}})
            assert set(first.ingestion.keys) == set(keys[4:])
            await first.end()
            assert connections_in(home, "default") == 1
            second = Running(simulator, None, home, journal_port=port)  # no writer speaks
            await second.begin([])
            await until(lambda: second.confirmed == 8)
            assert set(second.ingestion.keys) == set(keys[4:])
            await second.end()

    asyncio.run(run())


@on_one_engine
def test_collector_for_which_no_key_is_left_is_told_that_a_writer_is_there(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READ_WITHIN_S", 0.0)
    ports = {name: free_port() for name in NAMES}

    async def run() -> None:
        async with Simulator(market(12), speed=1.0, connections_max=2) as simulator:
            collectors: list[Running] = []
            for name in NAMES:
                make_token(home / name)
                given = {"collector": name, "journal_port": ports[name], "api_port": 0}
                collectors.append(Running(simulator, None, home / name, **given))
                await collectors[-1].begin([])

            def waiting() -> list[Running]:
                found = ((one, condition.id) for one in collectors for condition in health.conditions(one.ingestion))
                return [one for one, what in found if what == "no_writer"]

            await until(lambda: waiting() == collectors)
            config = config_of_writer(home, sorted(simulator.source.keys)[:1])
            urls, stop = [f"http://127.0.0.1:{port}" for port in ports.values()], asyncio.Event()
            sources, assignees = sources_of(urls, config), assignable(urls, config)
            writing = asyncio.create_task(write(config, database.url, sources, stop=stop, assigned=assignees))
            await until(lambda: not waiting())
            await until(lambda: sorted(len(one.ingestion.keys) for one in collectors) == [0, 1])
            idle = [bool(one.ingestion.keys) for one in collectors].index(False)
            await collectors[idle].end()
            given = {"collector": NAMES[idle], "journal_port": ports[NAMES[idle]], "api_port": 0}
            collectors[idle] = Running(simulator, None, home / NAMES[idle], **given)
            await collectors[idle].begin([])
            async with asyncio.timeout(WITHIN_S):
                while (await asyncio.to_thread(asked, ports[NAMES[idle]], "/universe"))["awaits"]:
                    await asyncio.sleep(0.02)
            await until(lambda: not waiting())
            for one in collectors:
                await one.end()
            stop.set()
            await writing

    asyncio.run(run())


@on_one_engine
def test_keys_of_a_lost_collector_are_taken_over_with_a_named_gap_and_come_back(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigned, "WORD_S", 30.0)
    ports = {name: free_port() for name in NAMES}

    async def run() -> None:
        async with Simulator(market(24), speed=1.0, connections_max=4) as simulator:
            keys = sorted(simulator.source.keys)

            async def collect(name: str) -> Running:
                given = {"collector": name, "journal_port": ports[name], "api_port": 0, "journal_fsync_ms": 10}
                found = Running(simulator, None, home / name, **given)
                await found.begin([])
                return found

            for name in NAMES:
                make_token(home / name)
            collectors = {name: await collect(name) for name in NAMES}
            config = config_of_writer(home, keys)
            seen: list[Writing] = []

            def write_now(
                where: str = "writer", names: Sequence[str] = NAMES
            ) -> tuple[asyncio.Task[Writing], asyncio.Event]:
                stop = asyncio.Event()
                given: dict[str, Any] = {"stop": stop, "ready": lambda one: seen.insert(0, one)}
                its = config.model_copy(update={"home": home / where})
                urls = [f"http://127.0.0.1:{ports[name]}" for name in names]
                sources, assigned = sources_of(urls, its), assignable(urls, its)
                return asyncio.create_task(write(its, database.url, sources, assigned=assigned, **given)), stop

            writing, stop = write_now()

            def held(name: str) -> set[str]:
                return set(collectors[name].ingestion.keys)

            def ticked() -> int:
                return sum(one.consumer.counts.ticks for one in seen[0].streams)

            async def lost_between_two_writers(where: str, names: Sequence[str]) -> datetime:
                """Return the time of the newest tick of mumbai that is committed then."""
                nonlocal writing, stop
                await until(lambda: set(rows(database, noted)[-1][2]) == share["mumbai"])
                stop.set()
                await writing
                await collectors["mumbai"].end()
                last: datetime
                ((last,),) = rows(database, "select max(last_ts) from tickline.ledger where collector = 'mumbai'")
                writing, stop = write_now(where, names)
                await until(lambda: held("chennai") == set(keys))
                return last

            await until(lambda: held("mumbai") | held("chennai") == set(keys))
            assert not held("mumbai") & held("chennai")
            share = {name: held(name) for name in NAMES}
            assert all(share.values())
            await until(lambda: all(collectors[name].confirmed == len(share[name]) for name in NAMES))
            await until(lambda: ticked() > 100)
            await collectors["mumbai"].end()
            await until(lambda: held("chennai") == set(keys))
            assert any("collector mumbai is lost" in one for one in seen[0].problems())
            lost = next(one for one in _metrics(seen[0]) if one.name == "tickline_collector_lost")
            assert {one.labels["collector"]: one.value for one in lost.samples} == {"mumbai": 1.0, "chennai": 0.0}
            said = {"keys": 24, "left_out": 0, "lost": "mumbai", "given": "mumbai: 12, chennai: 24"}
            await until(lambda: seen[0].account()["universe"] == said)
            named = f"select count(*), count(ended_at) {LOST}"
            noted = "select collector, source, keys from tickline.collectors order by collector"
            count = len(share["mumbai"])
            await until(lambda: rows(database, named) == [(count, count)])
            collectors["mumbai"] = await collect("mumbai")
            await until(lambda: held("mumbai") == share["mumbai"] and held("chennai") == share["chennai"])
            assert not any("lost" in one for one in seen[0].problems())
            ticks = ticked()
            await until(lambda: ticked() > ticks + 100)
            assert rows(database, TWICE.format(1))[0][0] <= 1  # the key by which it shows that it hears again
            # It answers, and the vendor refuses it.
            simulator.faults.refuse = 403
            collectors["mumbai"].ingestion.streams[0].feed.reconnect("a test")
            await until(lambda: held("chennai") == set(keys) and len(held("mumbai")) == 1)
            assert any("mumbai is lost: its feed has not been heard" in one for one in seen[0].problems())
            await until(lambda: rows(database, named) == [(2 * count, 2 * count)])
            simulator.faults.refuse = None
            await until(lambda: held("mumbai") == share["mumbai"] and held("chennai") == share["chennai"])
            assert rows(database, TWICE.format(2))[0][0] <= 1  # later it begins with keys that the other still has
            # It is lost while no writer runs. The next one has another home, and does not know its address.
            last = await lost_between_two_writers("another", NAMES[1:])
            await until(lambda: rows(database, named + f" and started_at = '{last}'") == [(count, count)])
            assert [name for name, *_ in rows(database, noted)] == ["chennai"]
            stop.set()
            await writing
            collectors["mumbai"] = await collect("mumbai")
            writing, stop = write_now("a third")
            await until(lambda: held("mumbai") == share["mumbai"] and held("chennai") == share["chennai"])
            # The next one knows its address.
            last = await lost_between_two_writers("a fourth", NAMES)
            await until(lambda: rows(database, named + f" and started_at = '{last}'") == [(count, count)])
            assert any("collector mumbai is lost: it has not answered" in one for one in seen[0].problems())
            await until(lambda: [len(had) for _, _, had in rows(database, noted)] == [len(keys), 0])
            await collectors["chennai"].end()
            stop.set()
            await writing

    asyncio.run(run())
    assert connections_in(home / "chennai", "chennai") == 1
    found = rows(
        database,
        "select distinct gap.collector, gap.connection, ended_at - started_at < '1 minute', best.quality"
        " from feed_gaps as gap left join best_bars_1m as best on best.instrument_id = gap.instrument_id"
        " and best.bucket = date_trunc('minute', gap.started_at) where reason = 'collector lost'",
    )
    assert {row[:3] for row in found} == {("mumbai", "*", True)}
    assert {row[3] for row in found} <= {"gap", None} and ("mumbai", "*", True, "gap") in found


@on_one_engine
def test_keys_of_a_lost_connection_go_to_another_collector_and_come_back_and_no_other_moves(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection_plan.LIMITS, "full", connection_plan.Limit(8, 8))
    monkeypatch.setattr(assigned, "UNHEARD_S", 0.1)
    ports = {name: free_port() for name in NAMES}
    moved: set[str] = set()

    async def run() -> None:
        # Each account has a vendor of its own, so that one of them can refuse a second connection.
        async with Simulator(market(24), speed=1.0) as vendor, Simulator(market(24), speed=1.0) as other:
            keys, collectors = sorted(vendor.source.keys), dict[str, Running]()
            for name, simulator in zip(NAMES, (vendor, other), strict=True):
                make_token(home / name)
                given = {"collector": name, "journal_port": ports[name], "api_port": 0, "journal_fsync_ms": 10}
                collectors[name] = Running(simulator, None, home / name, **given)
                await collectors[name].begin([])
            urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
            config = config_of_writer(home, keys)
            seen: list[Writing] = []
            stop = asyncio.Event()
            sources, assignees = sources_of(urls, config), assignable(urls, config)
            writing = asyncio.create_task(
                write(config, database.url, sources, stop=stop, ready=seen.append, assigned=assignees)
            )

            def held(name: str) -> set[str]:
                return set(collectors[name].ingestion.keys)

            await until(lambda: held("mumbai") | held("chennai") == set(keys))
            share = {name: held(name) for name in NAMES}
            await until(lambda: all(collectors[name].confirmed == len(share[name]) for name in NAMES))
            lost = collectors["mumbai"].ingestion.streams[1]
            await until(lambda: lost.consumer.counts.ticks > 0)
            moved.update(lost.feed.keys)
            assert 1 < len(moved) < len(share["mumbai"])
            vendor.connections_max = 1
            lost.feed.reconnect("a test")
            await until(lambda: held("chennai") == share["chennai"] | moved and len(held("mumbai") & moved) == 1)
            assert held("mumbai") > share["mumbai"] - moved
            (problem,) = [one for one in seen[0].problems() if "mumbai" in one]
            assert problem == "collector mumbai hears nothing on 1 of its connections: others get its keys"
            named = f"select count(*), count(ended_at) {LOST}"
            await until(lambda: rows(database, named) == [(len(moved), len(moved))])
            vendor.connections_max = 2
            await until(lambda: {name: held(name) for name in NAMES} == share)
            assert not any("hears nothing" in one for one in seen[0].problems())
            for one in collectors.values():
                await one.end()
            stop.set()
            await writing

    asyncio.run(run())
    gaps = rows(database, f"select instrument_key, collector, ended_at > started_at {LOST}".replace("where", JOINED))
    assert sorted(gaps) == [(key, "mumbai", True) for key in sorted(moved)]
    assert connections_in(home / "mumbai", "mumbai") == connections_in(home / "chennai", "chennai") == 1
