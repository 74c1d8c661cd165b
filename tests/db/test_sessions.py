"""Sessions: the opening auction and the open of a day are those of its session, whatever the hour."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

import analytics
from analytics.market_time import EQUITY_OPEN, OPENS
from ingest.database.connections import Database
from ingest.database.pool import Pool, run_with_pool
from ingest.journal.recording import write_recording
from ingest.last_error import LastErrors
from ingest.market.calendar import EXCHANGES, usual_hours
from ingest.market.time import day_span
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.repair.backfill_store import Store
from ingest.settings import settings
from ingest.universe.daily_lists import DailyLists
from ingest.upstox.answers import Candle, calendar_of

KEY = "NSE_EQ|INE009A01021"
SUNDAY, FRIDAY = "2026-11-08", "2026-11-27"
PRE_OPEN_START = 0


def ms(day: str, clock: str) -> int:
    return round(datetime.fromisoformat(f"{day} {clock}+05:30").timestamp() * 1000)


def frames(day: str, pre_open: str, match: str, opens: str) -> list[tuple[int, bytes]]:
    """A session: the word of the feed, an auction with one match, two minutes of trades."""
    word = pb.FeedResponse(type=pb.market_info, currentTs=ms(day, pre_open))
    word.marketInfo.segmentStatus["NSE_EQ"] = PRE_OPEN_START
    made = [word]

    def show(at_ms: int, ltt_ms: int, vtt: int) -> None:
        made.append(pb.FeedResponse(type=pb.live_feed, currentTs=at_ms))
        made[-1].feeds[KEY].requestMode = pb.full_d5
        shown = made[-1].feeds[KEY].fullFeed.marketFF
        shown.ltpc.ltp, shown.ltpc.ltt, shown.vtt = 1500.0, ltt_ms, vtt

    show(ms(day, pre_open) + 1_000, ms("2026-11-05", "15:29:00"), 777)
    for late_ms in (2_000, 7_000):
        show(ms(day, match) + late_ms, ms(day, match), 50_000)
    for number in range(12):
        ltt_ms = ms(day, opens) + 400 + number * 10_000
        show(ltt_ms + 100, ltt_ms, 50_100 + number * 100)
    return [(frame.currentTs, frame.SerializeToString()) for frame in made]


@pytest.mark.parametrize(
    ("day", "pre_open", "match", "opens"),
    [(FRIDAY, "09:00:58", "09:07:58", "09:15:00"), (SUNDAY, "17:45:58", "17:52:58", "18:00:00")],
)
def test_opening_auction_is_one_match_of_its_session_and_wide_bars_begin_at_the_open(
    database: Database, tmp_path: Path, day: str, pre_open: str, match: str, opens: str
) -> None:
    write_recording(tmp_path / "day.frames.gz", frames(day, pre_open, match, opens))
    asyncio.run(replay(settings(), database.url, [tmp_path / "day.frames.gz"]))
    with database.connect() as conn:
        bars = conn.execute("select quality, volume from best_bars_1m order by bucket").fetchall()
        assert bars == [("auction", 50_000), ("complete", 600), ("complete", 600)]
        noted = conn.execute("select segment, opens_at from tickline.special_sessions").fetchall()
    special = [("NSE_EQ", datetime.fromisoformat(f"{day} {opens}+05:30"))] if day == SUNDAY else []
    assert noted == special
    for interval in ("1h", "1d"):
        wide = analytics.bars(KEY, interval=interval, database=database)
        [begins] = wide["bucket"]
        assert begins == datetime.fromisoformat(f"{day} {opens}+05:30")
        assert wide["volume"].to_list() == [51_200]


@pytest.mark.parametrize("segment", EXCHANGES)
def test_usual_open_is_the_same_wherever_it_is_known(conn_to_read: Any, segment: str) -> None:
    opens_at = datetime.fromisoformat(f"{FRIDAY} 00:00+05:30") + OPENS.get(segment, EQUITY_OPEN)
    [[found]] = conn_to_read.execute("select tickline.session_open(%s, %s)", (segment, FRIDAY)).fetchall()
    hours = usual_hours(EXCHANGES[segment], date.fromisoformat(FRIDAY))
    assert found == opens_at == (hours and hours.opens)


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_filler_marks_minutes_until_bars_come_for_them(database: Database, conn: Any, tmp_path: Path) -> None:
    made = []
    for number in range(6):
        start_ms = ms(FRIDAY, "10:00") + number * 60_000
        frame = pb.FeedResponse(type=pb.live_feed, currentTs=start_ms + 60_500)
        frame.feeds[KEY].requestMode = pb.full_d5
        shown = frame.feeds[KEY].fullFeed.marketFF
        shown.ltpc.ltp, shown.ltpc.ltt, shown.vtt = 1500.0, start_ms + 60_100, 100 * number + 100
        volume = 0 if number == 4 else 100
        shown.marketOHLC.ohlc.add(interval="I1", ts=start_ms, vol=volume, open=1500, high=1500, low=1500, close=1500)
        made.append((frame.currentTs, frame.SerializeToString()))
    write_recording(tmp_path / "day.frames.gz", made)
    asyncio.run(replay(settings(), database.url, [tmp_path / "day.frames.gz"]))
    marked = "select to_char(bucket at time zone 'Asia/Kolkata', 'HH24:MI'), quality from unheard_minutes order by 1"
    assert conn.execute(marked).fetchall() == [("10:01", "partial"), ("10:03", "partial"), ("10:04", "partial")]
    day = date.fromisoformat(FRIDAY)
    candle = Candle(ms(FRIDAY, "10:04"), 1500.0, 1500.0, 1500.0, 1500.0, 100, 0)

    async def repair(pool: Pool) -> None:
        store = Store(pool)
        [task] = await store.tasks(*day_span(day))
        await store.settle(*day_span(day))
        assert (await store.fill(task, [candle], "intraday", day_span(day)[0], None))[0] == 1

    run_with_pool(database.url, repair)
    assert conn.execute(marked).fetchall() == []


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_calendar_of_the_vendor_tells_the_database_of_special_sessions(
    database: Database, conn: Any, home: Path
) -> None:
    lists = DailyLists(settings(home=home), LastErrors())
    hours = {"exchange": "NSE", "start_time": ms(SUNDAY, "18:00"), "end_time": ms(SUNDAY, "19:00")}
    usual = {"exchange": "NSE", "start_time": ms(FRIDAY, "09:15"), "end_time": ms(FRIDAY, "15:30")}
    lists.calendar = calendar_of(
        [{"date": SUNDAY, "holiday_type": "SPECIAL_TIMING", "open_exchanges": [hours]}], {FRIDAY: [usual]}
    )
    for _ in range(2):
        lists.note_opens(conn)
    noted = conn.execute("select day::text, segment, opens_at from tickline.special_sessions order by 2").fetchall()
    opens_at = datetime.fromisoformat(f"{SUNDAY} 18:00+05:30")
    assert noted == [(SUNDAY, segment, opens_at) for segment in ("NSE_EQ", "NSE_INDEX")]
