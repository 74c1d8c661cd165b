"""Random streams through the whole path, against the rules written down row by row: journal, replay, both engines."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest.audit.volume_check import verify_volumes
from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.live.stream import SEQ_STEP
from ingest.pipeline.replay import replay
from ingest.settings import settings
from tests.unit.expected import Expected, bars_of
from tests.unit.streams import stream

# Journals, instruments in each, and the first seed: a stream is what one instrument is sent over two days.
FEW, MANY, OTHERS = (2, 20, 0), (10, 50, 0), (10, 50, 100)
LONG = [pytest.mark.soak, pytest.mark.timeout(3600)]
TICKS = ("ts", "traded", "ltp", "ltq", "ltt", "vtt", "volume", "oi", "atp", "bid", "iv", "delta", "day_high", "day_low")
BARS = ("open", "high", "low", "close", "volume", "oi", "ticks", "trades", "iv", "delta", "gamma")


def us(column: str) -> str:
    return f"(extract(epoch from {column}) * 1000000)::int8"


def write(folder: Path, number: int, seed: int, instruments: int) -> Expected:
    """Write a journal of some segments; return what it must become."""
    expected = Expected()
    limits = JournalLimits(segment_bytes_max=300_000 + 100_000 * number)
    first_seq = number * SEQ_STEP + 1
    journal = JournalWriter(folder, collector="default", stream=f"{number + 1}", next_seq=first_seq, limits=limits)
    for seq, event in enumerate(stream(seed, instruments), first_seq):
        journal.append(event.kind, event.payload, event.at_ms * 1000)
        expected.take(seq, event.kind, event.payload)
    journal.close()
    return expected


def replay_in_parts(database: Database, folder: Path, seed: int) -> None:
    """Replay a journal with batches of some size, stopped in between: a restart decodes again what is committed."""
    segments = segments_of(folder)
    rng = random.Random(seed)
    for count in sorted({rng.randint(1, len(segments)), len(segments)}):
        given = settings().model_copy(update={"batch_rows_max": rng.choice((50, 700, 10_000))})
        asyncio.run(replay(given, database.url, segments[:count]))


def check(conn: psycopg.Connection[Any], number: int, seed: int, expected: Expected) -> None:
    """Compare ticks, bars, gaps and unheard minutes of a journal's instruments."""
    mine = f"join instruments using (instrument_id) where instrument_key like '%|{seed}-%'"
    columns = ", ".join(us(name) if name in {"ts", "ltt"} else name for name in TICKS)
    ticks = conn.execute(f"select instrument_key, seq, {columns} from ticks {mine}").fetchall()
    rows = expected.rows()
    wanted = [(row["key"], int(row["seq"]), *(row[name] for name in TICKS)) for row in rows]
    assert sorted(ticks) == sorted(wanted, key=lambda row: row[:2])
    for minutes in (1, 5):
        found = conn.execute(f"select instrument_key, {us('bucket')}, {', '.join(BARS)} from bars_{minutes}m {mine}")
        bars = [(*at, *(bar[name] for name in BARS)) for at, bar in bars_of(rows, minutes).items()]
        assert sorted(found.fetchall()) == sorted(bars), minutes
    gaps = conn.execute(
        f"select instrument_key, {us('started_at')} / 1000, {us('ended_at')} / 1000, volume, "
        f"reason = 'volume before we began' from feed_gaps {mine}"
    ).fetchall()
    assert sorted(gaps) == sorted((expected.keys[gap[0] - 1], *gap[1:]) for gap in expected.normaliser.gaps)
    breaks = conn.execute(
        f"select {us('started_at')} / 1000, {us('ended_at')} / 1000, reason from feed_gaps "
        "where instrument_id is null and connection = %s",
        (f"{number + 1}",),
    ).fetchall()
    assert sorted(breaks) == sorted(expected.breaks)
    unheard = conn.execute(
        f"select instrument_key, {us('bucket')} / 1000, quality from unheard_minutes {mine}"
    ).fetchall()
    assert {(key, minute): quality for key, minute, quality in unheard} == expected.unheard


@pytest.mark.parametrize(
    ("journals", "instruments", "first"), [FEW, pytest.param(*MANY, marks=LONG), pytest.param(*OTHERS, marks=LONG)]
)
def test_random_streams_become_what_the_rules_say(
    database: Database, conn: psycopg.Connection[Any], tmp_path: Path, journals: int, instruments: int, first: int
) -> None:
    seen = dict.fromkeys(("resets", "backward", "empty", "silence"), 0)
    for number, seed in enumerate(range(first, first + journals)):
        folder = tmp_path / str(seed)
        expected = write(folder, number, seed, instruments)
        replay_in_parts(database, folder, seed)
        check(conn, number, seed, expected)
        counts = expected.normaliser.counts | {
            "silence": sum(reason.startswith("silence") for *_, reason in expected.breaks)
        }
        seen = {name: count + counts[name] for name, count in seen.items()}
    assert all(seen.values()), seen
    reports = list(verify_volumes(conn))
    # The two days, and with enough streams a third: trades of the day before that were told late.
    assert len(reports) >= 2
    assert [(report.instruments > 0, report.skipped, report.problems) for report in reports] == [
        (True, "", []) for _ in reports
    ]
