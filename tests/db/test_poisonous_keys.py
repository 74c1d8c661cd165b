"""Keys in frames that are none: each costs its update, a crowd of them its frame; what is committed adds up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.config import settings
from ingest.crowd import KEYS_MAX
from ingest.journal import segments_of
from ingest.journal_writer import JournalLimits, JournalWriter
from ingest.model import RecordKind
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.replay import replay
from ingest.verify import verify_stream
from ingest.volumes import verify_volumes
from sql.database import Database

START_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
GOOD = "NSE_FO|53001"
POISON = ["NSE_FO|1\0", "NSE_FO|" + "9" * 9_000, "INFY", "NSE_FO|a|b", "NSE_FO|\u20b9", "x" * 70_000, "\x1b[2J|1", "|"]


def frame(at_ms: int, *keys: str) -> bytes:
    message = pb.FeedResponse(type=pb.live_feed, currentTs=at_ms)
    for key in keys:
        feed = message.feeds[key]
        feed.requestMode = pb.full_d5
        feed.fullFeed.marketFF.vtt = at_ms - START_MS + 1
        feed.fullFeed.marketFF.ltpc.ltp, feed.fullFeed.marketFF.ltpc.ltt = 100.0, at_ms
    return message.SerializeToString()


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A journal whose frames hold such keys beside a real one."""
    folder = tmp_path / "journal" / "default" / "1"
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits(fsync_ms=10))
    crowd = [f"NSE_FO|{number}" for number in range(KEYS_MAX + 1)]
    for number, keys in enumerate([*([GOOD, poison] for poison in POISON), crowd, [GOOD]]):
        at_ms = START_MS + number * 1000
        journal.append(RecordKind.FRAME, frame(at_ms, *keys), at_ms * 1000)
    journal.close()
    return folder


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
