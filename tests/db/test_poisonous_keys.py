"""Keys in frames that are none: each costs its update, a crowd of them its frame; what is committed adds up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.audit.journal_check import verify_stream
from ingest.audit.volume_check import verify_volumes
from ingest.database.connections import Database
from ingest.decode.frame_limits import KEYS_MAX
from ingest.journal.folder import segments_of
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.settings import settings

START_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
GOOD, LISTED = "NSE_FO|53001", "NSE_EQ|INE009A01021"
NAMED = """
    insert into instruments (instrument_key, segment, instrument_type, trading_symbol, valid_from)
    values (%(key)s, 'NSE_EQ', 'EQ', 'INFY', '2025-12-01')
"""
POISON = ["NSE_FO|1\0", "NSE_FO|" + "9" * 9_000, "INFY", "NSE_FO|a|b", "NSE_FO|\u20b9", "x" * 70_000, "\x1b[2J|1", "|"]


def frame(at_ms: int, *keys: str) -> bytes:
    message = pb.FeedResponse(type=pb.live_feed, currentTs=at_ms)
    for key in keys:
        feed = message.feeds[key]
        feed.requestMode = pb.full_d5
        feed.fullFeed.marketFF.vtt = at_ms - START_MS + 1
        feed.fullFeed.marketFF.ltpc.ltp, feed.fullFeed.marketFF.ltpc.ltt = 100.0, at_ms
    return message.SerializeToString(deterministic=True)  # keys in alphabetical order


def journal_of(folder: Path, *frames: bytes) -> Path:
    """A journal of frames, a second apart."""
    folder = folder / "journal" / "default" / "1"
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits(fsync_ms=10))
    for payload in frames:
        journal.append(RecordKind.FRAME, payload, pb.FeedResponse.FromString(payload).currentTs * 1000)
    journal.close()
    return folder


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A journal whose frames hold such keys beside a real one."""
    crowd = [f"NSE_FO|{number}" for number in range(KEYS_MAX + 1)]
    given = [*([GOOD, poison] for poison in POISON), crowd, [GOOD]]
    return journal_of(tmp_path, *(frame(START_MS + number * 1000, *keys) for number, keys in enumerate(given)))


def test_poisonous_keys_cost_their_updates_and_nothing_else(
    database: Database, conn: psycopg.Connection[Any], stream: Path
) -> None:
    for _ in range(2):  # once more after a restart: nothing is left that stops it
        asyncio.run(replay(settings(), database.url, segments_of(stream)))
    assert conn.execute("select instrument_key from instruments").fetchall() == [(GOOD,)]
    assert conn.execute("select count(*) from ticks").fetchone() == (len(POISON) + 1,)
    found = conn.execute(
        "select reason, instrument_id, length(tick ->> 'instrument_key') from tickline.rejected_ticks"
    ).fetchall()
    assert [(reason, id_) for reason, id_, _ in found] == [("no instrument key", None)] * len(POISON)
    assert max(length for *_, length in found) < 200
    ((reason,),) = conn.execute("select reason from tickline.quarantined_frames").fetchall()
    assert reason == f"frame has more than the {KEYS_MAX} keys of a connection"
    with database.connect() as connection:
        report = verify_stream(connection, "default", stream)
    assert report.adds_up, report.problems
    assert (report.rejected, report.quarantined) == (len(POISON), 1)
    with database.connect() as connection:
        assert all(volume.adds_up for volume in verify_volumes(connection))


DAY_MS = 86_400_000
HELD = "select seq, updates, instrument_id, tick ->> 'instrument_key' from tickline.rejected_ticks where held_back"
ROWS = "select instrument_key, seq, volume from ticks join instruments using (instrument_id) order by 1, 2"


def strangers(first: int, count: int) -> list[str]:
    return [f"NSE_FO|{number}" for number in range(first, first + count)]


def checked(database: Database, folder: Path) -> tuple[int, int]:
    """Return the rows of frames and the rejected updates of a stream that adds up, also with what is on record."""
    with database.connect(autocommit=True) as conn:
        report = verify_stream(conn, "default", folder)
        assert report.adds_up and not report.pending, report.problems
        assert all(volume.adds_up for volume in verify_volumes(conn))
        ((on_record,),) = conn.execute("select sum(updates) from tickline.rejected_ticks").fetchall()
        assert on_record == report.rejected
        return report.ticks, report.rejected


def test_keys_beyond_the_bound_of_a_day_are_held_back_and_add_up(
    database: Database, conn: psycopg.Connection[Any], template: Any, tmp_path: Path
) -> None:
    """Three a day: live, a restart, a replay into a fresh database and `verify` agree."""
    frames = [
        frame(START_MS, GOOD, *strangers(1, 1)),
        frame(START_MS + 1000, GOOD, *strangers(1, 9)),  # of these one more is taken, the first that is new
        frame(START_MS + 2000, *strangers(3, 7), "NSE_FO|1\0", LISTED),
        frame(START_MS + DAY_MS, *strangers(5, 9)),
    ]
    folder = journal_of(tmp_path, *frames)
    given = settings(unknown_keys_per_day_max=3, batch_rows_max=4)

    def run(database: Database, count: int, bound: int = 3) -> None:
        paths = segments_of(folder)[:count]
        asyncio.run(replay(given.model_copy(update={"unknown_keys_per_day_max": bound}), database.url, paths))

    with database.connect(autocommit=True) as connection:
        connection.execute(NAMED, {"key": LISTED})
    run(database, 1)  # the first day
    taken = conn.execute("select instrument_key from instruments where instrument_type is null order by 1").fetchall()
    assert [key for (key,) in taken] == [*strangers(1, 2), GOOD]
    ((state,),) = conn.execute("select state from tickline.checkpoints").fetchall()
    assert set(json.loads(json.loads(state)["normaliser"])["keys"]) == {*strangers(1, 2), GOOD, LISTED}
    run(database, 2, bound=100)  # what was held back stays so
    assert conn.execute(HELD + " order by seq").fetchall() == [
        (2, 7, None, "NSE_FO|3"),
        (3, 7, None, "NSE_FO|3"),
    ]
    assert conn.execute("select count(*) from instruments where instrument_type is null").fetchone() == (3 + 9,)
    assert checked(database, folder) == (2 + 3 + 1 + 9, 7 + 7 + 1)
    with template.fresh() as other:
        with other.connect(autocommit=True) as connection:
            connection.execute(NAMED, {"key": LISTED})
            run(other, 2, bound=3)
            assert connection.execute(HELD + " order by seq").fetchall()[2:] == [(4, 6, None, "NSE_FO|13")]
            ticked = connection.execute(ROWS.replace("order by", "where seq < 4 order by")).fetchall()
        assert ticked == conn.execute(ROWS.replace("order by", "where seq < 4 order by")).fetchall()
        assert checked(other, folder) == (2 + 3 + 1 + 3, 7 + 7 + 1 + 6)
        run(other, 2, bound=0)
        assert checked(other, folder) == (2 + 3 + 1 + 3, 7 + 7 + 1 + 6)
