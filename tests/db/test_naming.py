"""What a key means changes while an ingester runs: with the day, with a list that is loaded, across a restart."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.audit.journal_check import verify_stream
from ingest.audit.volume_check import verify_volumes
from ingest.cli import group
from ingest.database.connections import Database
from ingest.database.pool import run_with_pool
from ingest.journal.folder import segment_name, segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.sources import JournalSource
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.market.time import moment
from ingest.model.records import Position, RecordKind
from ingest.pipeline.consumer import Consumer, ConsumerLimits
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.repair.backfill_store import Store
from ingest.settings import settings
from ingest.store.retrying_writer import retrying_writer
from ingest.store.writer import Writer
from ingest.universe.instrument_master import load_master
from ingest.universe.keeper import UniverseKeeper, follow
from ingest.upstox.rest import UpstoxApi
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.simulated import NOWHERE

KEY, SHARE = "NSE_FO|53001", "NSE_EQ|INE009A01021"
TUESDAY, WEDNESDAY = date(2025, 12, 30), date(2025, 12, 31)
NOON = time(12)


def at_ms(day: date, number: int) -> int:
    return int(moment(day, NOON).timestamp() * 1000) + number * 1000


def frame(ms: int, volumes: dict[str, int]) -> bytes:
    message = pb.FeedResponse(type=pb.live_feed, currentTs=ms)
    for key, vtt in volumes.items():
        feed = message.feeds[key]
        feed.requestMode = pb.full_d5
        feed.fullFeed.marketFF.vtt = vtt
        feed.fullFeed.marketFF.ltpc.ltp, feed.fullFeed.marketFF.ltpc.ltt = 100.0, ms
    return message.SerializeToString()


def load(conn: psycopg.Connection[Any], day: date, *contracts: tuple[str, date | None]) -> None:
    """Load the list of a morning: symbols that have the key, each with its expiry, and the share."""
    rows: list[dict[str, Any]] = [{"instrument_key": SHARE, "instrument_type": "EQ", "trading_symbol": "INFY"}]
    for symbol, expiry in contracts:
        assert expiry is not None
        ends = int(moment(expiry, time(23, 59)).timestamp()) * 1000
        rows.append({"instrument_key": KEY, "instrument_type": "FUT", "trading_symbol": symbol, "expiry": ends})
    rows = [row | {"segment": row["instrument_key"].partition("|")[0]} for row in rows]
    load_master(conn, json.dumps(rows).encode(), f"{day} {contracts}", moment(day, time(6, 30)))


class Stream:
    """A journal, and consumers of it as `start` has them: they go on from the checkpoint."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder / "journal" / "default" / "1", database
        limits = JournalLimits(fsync_ms=0)
        self.journal = JournalWriter(self.folder, collector="default", stream="1", next_seq=1, limits=limits)
        self.sent = 0

    def send(self, day: date, vtt: int, *, share: bool = True) -> None:
        self.sent += 1
        ms = at_ms(day, self.sent)
        self.journal.append(RecordKind.FRAME, frame(ms, {KEY: vtt} | ({SHARE: vtt} if share else {})), ms * 1000)

    async def consume(self, between: Iterable[Callable[[Consumer], None]] = (), *, checkpoint: bool = True) -> Consumer:
        """Consume what is there, and after each step what it adds; without `checkpoint` as one that is killed."""
        with retrying_writer(Writer(self.database.url, "default"), settings()) as writer:
            resume = writer.resume("1")
            reader = JournalReader(lambda: segments_of(self.folder), resume.checkpoint, follow=True)
            # The state is stored at the end only, and where a key came to mean another instrument.
            consumer = Consumer(JournalSource(reader), writer, "1", ConsumerLimits(checkpoint_s=1e9))
            consumer.resume(resume)
            running = asyncio.create_task(consumer.run())
            for step in itertools.chain([lambda _: None], between):
                step(consumer)
                async with asyncio.timeout(WITHIN_S):
                    while consumer.committed != self.end:
                        await asyncio.sleep(0.005)
            if checkpoint:
                reader.stop_following()
                await running
            else:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running
            consumer.source.close()
            return consumer

    @property
    def end(self) -> Position:
        newest = segments_of(self.folder)[-1]
        return Position(segment_name(newest), newest.stat().st_size)


@pytest.fixture
def stream(tmp_path: Path, database: Database) -> Stream:
    return Stream(tmp_path, database)


def ticks(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """The days of the key's ticks by instrument: symbol, day of its list, vtt of each."""
    return conn.execute(
        "select trading_symbol, array_agg(vtt order by ts) from ticks join instruments using (instrument_id)"
        " where instrument_key = %s group by instrument_id, trading_symbol order by min(ts)",
        (KEY,),
    ).fetchall()


def check(conn: psycopg.Connection[Any], stream: Stream) -> None:
    """What is committed adds up, and each instrument's volume is its own."""
    report = verify_stream(conn, "default", stream.folder)
    assert report.adds_up and not report.pending, report.problems
    for volume in verify_volumes(conn):
        assert volume.adds_up, volume.problems


def test_key_that_is_reused_after_expiry_is_the_new_contract_from_its_first_day_on(
    conn: psycopg.Connection[Any], database: Database, stream: Stream, template: Any
) -> None:
    load(conn, TUESDAY, ("NIFTY FUT 30 DEC 25", TUESDAY))
    load(conn, WEDNESDAY, ("SBIN FUT 27 JAN 26", date(2026, 1, 27)))
    for vtt in (900, 950, 990):
        stream.send(TUESDAY, vtt)

    def next_day(consumer: Consumer) -> None:
        for vtt in (40, 70, 75):
            stream.send(WEDNESDAY, vtt)

    consumer = asyncio.run(stream.consume([next_day]))
    made = [("NIFTY FUT 30 DEC 25", [900, 950, 990]), ("SBIN FUT 27 JAN 26", [40, 70, 75])]
    assert ticks(conn) == made
    check(conn, stream)
    assert len(consumer.state.naming.met) == 3 and len(consumer.state.normaliser.states.keys) == 2
    # A share that goes on trades its first 40 of the day as well.
    assert conn.execute("select sum(volume) from ticks").fetchone() == (2 * (90 + 35) + 40,)
    asyncio.run(replay(settings(), database.url, segments_of(stream.folder)))
    assert ticks(conn) == made
    with template.fresh() as other, other.connect(autocommit=True) as fresh:
        load(fresh, TUESDAY, ("NIFTY FUT 30 DEC 25", TUESDAY))
        load(fresh, WEDNESDAY, ("SBIN FUT 27 JAN 26", date(2026, 1, 27)))
        asyncio.run(replay(settings(), other.url, segments_of(stream.folder)))
        assert ticks(fresh) == made


@pytest.mark.parametrize("told", [True, False], ids=["told while it runs", "after a kill"])
def test_list_that_is_loaded_meanwhile_names_the_ticks_behind_it(
    conn: psycopg.Connection[Any], database: Database, stream: Stream, told: bool
) -> None:
    """A key without a name for weeks, so that it cannot be the same contract: from the list on it is its own."""
    load(conn, TUESDAY - timedelta(days=40))
    stream.send(TUESDAY - timedelta(days=30), 500)
    asyncio.run(stream.consume())
    for vtt in (900, 950):
        stream.send(TUESDAY, vtt)

    def listed(consumer: Consumer | None) -> None:
        load(conn, TUESDAY, ("SBIN FUT 27 JAN 26", date(2026, 1, 27)))
        if consumer is not None:
            consumer.state.naming.ask_again()
        for vtt in (960, 975):
            stream.send(TUESDAY, vtt)

    if told:
        asyncio.run(stream.consume([listed], checkpoint=False))
    else:
        asyncio.run(stream.consume(checkpoint=False))
        listed(None)
    asyncio.run(stream.consume())  # what a kill has left is decoded again, and counts nothing twice
    stream.send(TUESDAY, 990)
    asyncio.run(stream.consume())
    assert ticks(conn) == [(None, [500, 900, 950]), ("SBIN FUT 27 JAN 26", [960, 975, 990])]
    check(conn, stream)
    gaps = (
        "select volume from feed_gaps join instruments using (instrument_id) where starts_with(trading_symbol, 'SBIN')"
    )
    assert conn.execute(gaps).fetchall() == [(960,)]


def test_key_that_means_the_same_keeps_its_state_over_days_lists_and_restarts(
    conn: psycopg.Connection[Any], stream: Stream
) -> None:
    expiry = date(2026, 1, 27)
    load(conn, TUESDAY, ("SBIN FUT 27 JAN 26", expiry))
    stream.send(TUESDAY, 900)
    asyncio.run(stream.consume())
    load(conn, TUESDAY, ("SBIN FUT 28 JAN 26", expiry + timedelta(days=1)))  # its expiry is moved
    stream.send(TUESDAY, 950)
    asyncio.run(stream.consume(checkpoint=False))
    stream.send(WEDNESDAY, 30)
    asyncio.run(stream.consume())
    assert ticks(conn) == [("SBIN FUT 28 JAN 26", [900, 950, 30])]
    check(conn, stream)
    volumes = "select volume from ticks join instruments using (instrument_id) where instrument_key = %s order by ts"
    assert conn.execute(volumes, (KEY,)).fetchall() == [(None,), (50,), (30,)]


@on_one_engine
def test_minutes_of_a_key_that_may_mean_another_are_not_asked_for(
    conn: psycopg.Connection[Any], database: Database
) -> None:
    keys = {
        "without a name": ("NSE_FO|1", None, None, None),
        "share without a name": ("NSE_EQ|1", None, None, None),
        "left the list": ("NSE_FO|2", "FUT", "2026-03-31", "2025-12-31 06:30+05:30"),
        "has its key": ("NSE_FO|2", "FUT", "2026-04-28", None),
        "of the list": ("NSE_FO|3", "FUT", "2026-01-27", None),
        "left, and nobody has its key": ("NSE_FO|4", "FUT", "2026-01-27", "2025-12-31 06:30+05:30"),
    }
    for number, (key, kind, expiry, valid_to) in enumerate(keys.values(), 1):
        conn.execute(
            "insert into instruments (instrument_key, segment, instrument_type, expiry, valid_from, valid_to)"
            " values (%s, split_part(%s, '|', 1), %s, %s, '2025-12-01', %s)",
            (key, key, kind, expiry, valid_to),
        )
        conn.execute(
            "insert into unheard_minutes (instrument_id, bucket, quality) values (%s, '2025-12-30 12:00+05:30', 'gap')",
            (number,),
        )
    span = moment(TUESDAY, time()), moment(WEDNESDAY, time())
    tasks = run_with_pool(database.url, lambda pool: Store(pool).tasks(*span))
    names = dict(enumerate(keys, 1))
    found = {names[task.instrument_id]: task.last_day for task in tasks}
    assert found == {
        "without a name": TUESDAY,
        "share without a name": None,
        "left the list": TUESDAY,
        "has its key": date(2026, 4, 28),
        "of the list": date(2026, 1, 27),
        "left, and nobody has its key": date(2026, 1, 27),
    }
    now = moment(WEDNESDAY, time(16))
    assert {names[task.instrument_id] for task in tasks if task.has_expired(now)} == {"without a name", "left the list"}
    assert not any(task.has_expired(moment(TUESDAY, time(16))) for task in tasks)


def test_replay_says_what_stayed_without_a_name(
    conn: psycopg.Connection[Any], database: Database, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording without its list, later a list in which another contract has its key: the ticks keep their key."""
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    stream.send(TUESDAY - timedelta(days=60), 500)
    stream.journal.close()
    paths = [str(path) for path in segments_of(stream.folder)]
    said = CliRunner().invoke(group, ["replay", *paths], catch_exceptions=False).output
    assert f"2 of 2 instruments have no name, for example {SHARE}" in said and "universe refresh --file" in said
    load(conn, TUESDAY, ("SBIN FUT 27 JAN 26", date(2026, 1, 27)))
    assert ticks(conn) == [(None, [500])]
    said = CliRunner().invoke(group, ["replay", *paths], catch_exceptions=False).output
    assert f"1 of 2 instruments have no name, for example {KEY}" in said
    with database.connect(autocommit=True) as connection:
        load(connection, TUESDAY - timedelta(days=60), ("NIFTY FUT 18 NOV 25", date(2025, 11, 18)))
    assert ticks(conn) == [("NIFTY FUT 18 NOV 25", [500])]
    said = CliRunner().invoke(group, ["replay", *paths], catch_exceptions=False).output
    assert "no name" not in said


@on_one_engine
def test_list_that_anybody_loads_is_noticed_while_the_universe_is_followed(
    conn: psycopg.Connection[Any], database: Database, home: Path
) -> None:
    config = settings(home=home, upstox_assets_url=NOWHERE, upstox_api_url=NOWHERE, backoff_max_s=0.01, universe=(KEY,))
    noticed: list[bool] = []

    async def run() -> None:
        keeper, looked = UniverseKeeper(config, database.url), asyncio.Event()
        async with UpstoxApi(config) as api, asyncio.timeout(WITHIN_S):
            await keeper.wanted(api.time_source.now(), api)
            following = asyncio.create_task(
                follow(keeper, lambda _: looked.set(), api, every_s=0.01, listed=lambda: noticed.append(True))
            )
            await looked.wait()
            assert not noticed  # there is none
            load(conn, TUESDAY, ("SBIN FUT 27 JAN 26", date(2026, 1, 27)))
            while not noticed:
                await asyncio.sleep(0.01)
            following.cancel()

    asyncio.run(run())
    assert noticed == [True]
