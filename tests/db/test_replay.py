"""The recorded session through the whole path: written once, the same on both engines, and right."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from analytics import reconcile as reconciling
from analytics.cli.read import reconcile_command
from ingest.database.connections import Database
from ingest.database.queries import query
from ingest.errors import CorruptionError, JournalError
from ingest.journal.recording import read_recording, write_recording
from ingest.pipeline.consumer import Consumer
from ingest.pipeline.replay import replay
from ingest.settings import Settings
from ingest.universe.master_rows import read_master
from tests.data import data_file
from tests.engines import on_one_engine

SESSION = "session-20251215-open.frames.gz"
MIDNIGHT_MS = 1_765_737_000_000  # 15 Dec 2025 00:00 IST
SILENCE_MS = 5_000  # a minute that such a silence of the whole feed touches is not clean
FIRST_MINUTE_MS = MIDNIGHT_MS + 572 * 60_000  # the recording begins inside of it


def run(database: Database, *paths: Path, **given: Any) -> list[Consumer]:
    consumers: list[Consumer] = []
    asyncio.run(replay(Settings(), database.url, paths, done=consumers.append, **given))
    return consumers


@pytest.fixture(scope="module")
def replayed(template: Any) -> Iterator[Database]:
    """The recorded session, replayed once for this module."""
    path = data_file(SESSION)
    with Database(template.create("replayed"), None) as database:
        run(database, path)
        yield database
    template.drop("replayed")


def rows(database: Database, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with database.connect() as connection:
        return connection.execute(statement, parameters).fetchall()


def test_session_replayed_twice_is_written_once(replayed: Database) -> None:
    assert rows(replayed, "select count(*) from ticks") == [(209_928,)]
    before = rows(replayed, "select count(*), sum(ticks), sum(frames) from tickline.ledger")
    assert before[0][1:] == (209_928, 62_913)
    (again,) = run(replayed, data_file(SESSION))
    assert (again.counts.ticks, again.counts.frames_before) == (0, 62_913)
    assert rows(replayed, "select count(*), sum(ticks), sum(frames) from tickline.ledger") == before
    assert rows(replayed, "select count(*) from ticks") == [(209_928,)]


def test_ledger_covers_the_recording_without_a_hole(replayed: Database) -> None:
    ranges = rows(replayed, "select offset_start, offset_end from tickline.ledger order by offset_start")
    assert ranges[0][0] == 0
    assert all(one[1] == two[0] for one, two in zip(ranges, ranges[1:], strict=False))
    *_, last = read_recording(data_file(SESSION))
    assert ranges[-1][1] == last.end_offset


def test_backward_steps_are_kept_as_quotes(replayed: Database) -> None:
    backward = """
        select count(*) from (
            select ltt < lag(ltt) over (partition by instrument_id order by seq) as back, traded from ticks
        ) where back
    """
    assert rows(replayed, backward) == [(15,)]
    assert rows(replayed, backward + " and traded") == [(0,)]


def test_bar_and_gap_volumes_add_up_to_the_days_volume(replayed: Database) -> None:
    with replayed.connect() as connection:
        found = connection.execute(query("shared/day_volumes"), {"start": "2025-12-15", "end": "2025-12-16"}).fetchall()
    assert len(found) == 8
    for _, key, of_bars, of_gaps, of_day in found:
        assert of_bars + of_gaps == of_day, key
    # Each has what was traded before we began, and what the silences of the session hid.
    assert rows(
        replayed,
        "select reason, count(*), count(distinct instrument_id) from feed_gaps "
        "where instrument_id is not null group by 1 order by 1",
    ) == [("volume before we began", 8, 8), ("volume of a break", 32, 8)]


def test_best_bars_are_the_vendors_own_wherever_the_feed_carried_one(replayed: Database) -> None:
    best = {
        (key, minute_ms): (bar, source)
        for key, minute_ms, *bar, source in rows(
            replayed,
            """
            select instrument_key, (extract(epoch from bucket) * 1000)::int8, open, high, low, close, volume, source
            from best_bars_1m join instruments using (instrument_id)
            """,
        )
    }
    for minute, vendors in official().items():
        assert best[minute] == ([*vendors], "official"), minute
    assert len(official()) == 2_841
    # What is not the vendor's is made of ticks, in minutes whose candle never came.
    assert {source for minute, (_, source) in best.items() if minute not in official()} == {"ticks"}


def minutes_between(start: str, seconds: int) -> set[datetime]:
    began = datetime.fromisoformat(f"2025-12-15 {start}+05:30")
    first = began.replace(second=0)
    return {
        first + timedelta(minutes=n)
        for n in range(10)
        if first + timedelta(minutes=n) <= began + timedelta(seconds=seconds)
    }


def test_minutes_that_an_outage_touches_are_gaps_and_no_others(replayed: Database) -> None:
    outages = (
        ("10:56:06", 39),
        ("10:57:56", 124),
        ("11:02:55", 91),
        ("15:07:20", 39),
        ("15:26:23", 74),
        ("15:26:35", 102),
        ("15:28:37", 48),
    )
    touched = set[datetime]().union(*(minutes_between(start, seconds) for start, seconds in outages))
    qualities = rows(
        replayed,
        "select bucket, quality, count(*) from best_bars_1m where bucket < '2025-12-15 15:30+05:30' group by 1, 2",
    )
    assert {bucket for bucket, quality, _ in qualities if quality == "gap"} == touched
    assert {bucket for bucket, quality, _ in qualities if quality in {"complete", "thin"}}.isdisjoint(touched)
    began = {bucket for bucket, quality, _ in qualities if quality == "partial"}
    assert began == {datetime.fromisoformat("2025-12-15 09:32+05:30")}
    five = rows(
        replayed, "select distinct bucket from best_bars_5m where quality = 'gap' and bucket < '2025-12-15 10:00+00'"
    )
    assert {bucket for (bucket,) in five} == {minute - timedelta(minutes=minute.minute % 5) for minute in touched}


def test_silence_of_the_options_after_the_close_makes_no_bar(replayed: Database) -> None:
    silent = """
        select count(*) from {} join instruments using (instrument_id)
        where segment = 'NSE_FO' and bucket >= '2025-12-15 15:31+05:30' and bucket < '2025-12-15 15:42+05:30'
    """
    assert rows(replayed, silent.format("best_bars_1m")) == [(0,)]
    assert rows(replayed, silent.format("best_bars_1m").replace("NSE_FO", "NSE_EQ")) > [(0,)]


def test_bars_5m_are_the_roll_up_of_bars_1m(replayed: Database) -> None:
    rolled = """
        select instrument_id, date_bin('5 minutes', bucket, timestamptz 'epoch') as bin,
            (array_agg(open order by bucket))[1], max(high), min(low), (array_agg(close order by bucket desc))[1],
            sum(volume)::int8, (array_agg(oi order by bucket desc) filter (where oi is not null))[1],
            sum(ticks)::int8, sum(trades)::int8,
            (array_agg(iv order by bucket desc) filter (where iv is not null))[1],
            (array_agg(delta order by bucket desc) filter (where delta is not null))[1],
            (array_agg(gamma order by bucket desc) filter (where gamma is not null))[1]
        from bars_1m group by 1, 2 order by 1, 2
    """
    stored = """
        select instrument_id, bucket, open, high, low, close, volume, oi, ticks, trades, iv, delta, gamma
        from bars_5m order by 1, 2
    """
    assert rows(replayed, rolled) == rows(replayed, stored)


@pytest.mark.parametrize("name", ["iv", "delta", "gamma"])
def test_options_bars_have_what_the_last_tick_of_the_minute_that_has_one_says(replayed: Database, name: str) -> None:
    last: dict[tuple[int, datetime], float] = {}
    for instrument_id, minute, value in rows(
        replayed,
        f"select instrument_id, date_trunc('minute', ts), {name} from ticks where {name} is not null order by ts, seq",
    ):
        last[instrument_id, minute] = value
    for relation in ("bars_1m", "best_bars_1m"):
        bars = rows(
            replayed,
            f"select instrument_id, bucket, {name}, segment from {relation} join instruments using (instrument_id) "
            "where ticks > 0",
        )
        assert all(value == last.get((instrument_id, bucket)) for instrument_id, bucket, value, _ in bars)
        of_options = [value is not None for *_, value, segment in bars if segment == "NSE_FO"]
        assert len(of_options) > 1_000
        assert sum(of_options) > 0.9 * len(of_options)
        assert not any(value is not None for *_, value, segment in bars if segment != "NSE_FO")


def test_equities_have_no_open_interest_and_no_greeks(replayed: Database) -> None:
    assert rows(
        replayed,
        """
        select count(oi), count(iv), count(delta), count(vtt) > 0
        from ticks join instruments using (instrument_id) where segment = 'NSE_EQ'
        """,
    ) == [(0, 0, 0, True)]
    assert rows(
        replayed,
        "select count(*) filter (where ltp = 0 or bid = 0 or ask = 0 or oi = 0 or iv = 0) from ticks",
    ) == [(0,)]


@cache
def official() -> dict[tuple[str, int], tuple[float, float, float, float, int]]:
    with data_file("session-20251215-open.i1.csv").open() as file:
        return {
            (row["instrument_key"], int(row["minute_ms"])): (
                *(float(row[name]) for name in ("open", "high", "low", "close")),
                int(row["volume"]),
            )
            for row in csv.DictReader(file)
        }


def unclean_minutes() -> set[int]:
    """Minutes that a silence of the whole feed touches, and the one in which the recording begins."""
    minutes, before = {FIRST_MINUTE_MS}, 0
    for frame in read_recording(data_file(SESSION)):
        if before and frame.received_ms - before > SILENCE_MS:
            minutes.update(range(before // 60_000 * 60_000, frame.received_ms + 1, 60_000))
        before = frame.received_ms
    return minutes


def test_bars_agree_with_the_vendors_own_at_least_as_known(replayed: Database) -> None:
    """Shares of clean minutes that agree. Exact: to the paisa and the unit. Near: one tick, or 0.1 % of the volume."""
    truth, unclean = official(), unclean_minutes()
    master = BytesIO(data_file("instruments-NSE-20251223.json.gz").read_bytes())
    tick_sizes = {row.instrument_key: row.tick_size or 0.05 for row in read_master(master)}
    exact: dict[str, list[bool]] = defaultdict(list)
    near: dict[str, list[bool]] = defaultdict(list)
    beyond = 0
    for key, minute_ms, *bar in rows(
        replayed,
        """
        select instrument_key, (extract(epoch from bucket) * 1000)::int8, open, high, low, close, volume
        from bars_1m join instruments using (instrument_id)
        """,
    ):
        vendors = truth.get((key, minute_ms))
        if vendors is None or minute_ms in unclean:
            continue
        beyond += bar[1] > vendors[1] or bar[2] < vendors[2]
        for name, ours, theirs in zip(("open", "high", "low", "close", "volume"), bar, vendors, strict=True):
            exact[name].append(ours == theirs)
            slack = theirs * 0.001 if name == "volume" else tick_sizes[key] + 1e-9
            near[name].append(abs(ours - theirs) <= slack)
    shares = {name: (sum(hits) / len(hits), sum(near[name]) / len(hits)) for name, hits in exact.items()}
    print({name: (round(one, 4), round(two, 4)) for name, (one, two) in shares.items()}, len(exact["open"]))
    assert len(exact["open"]) > 2_500
    assert beyond == 0  # never a higher high or a lower low than the exchange's
    for name, floor_exact, floor_near in (
        ("open", 0.73, 0.74),
        ("high", 0.84, 0.85),
        ("low", 0.80, 0.82),
        ("close", 0.94, 0.95),
        ("volume", 0.84, 0.87),
    ):
        assert shares[name][0] >= floor_exact, name
        assert shares[name][1] >= floor_near, name


@pytest.fixture(scope="module")
def bars_by_engine() -> dict[str, list[tuple[Any, ...]]]:
    return {}


def test_engines_give_identical_bars(
    replayed: Database, engine: str, bars_by_engine: dict[str, list[tuple[Any, ...]]]
) -> None:
    statement = """
        select instrument_key, bucket, open, high, low, close, volume, oi, ticks, trades, iv, delta, gamma
        from {} join instruments using (instrument_id) order by 1, 2
    """
    bars_by_engine[engine] = [
        row for relation in ("bars_1m", "bars_5m") for row in rows(replayed, statement.format(relation))
    ]
    assert len(bars_by_engine[engine]) == 2_837 + 578
    one, *others = bars_by_engine.values()
    assert all(one == other for other in others)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The first 3,000 frames of the session."""
    path = tmp_path / "short.frames.gz"
    frames = (frame for frame, _ in zip(read_recording(data_file(SESSION)), range(3_000), strict=False))
    write_recording(path, ((frame.received_ms, frame.payload) for frame in frames))
    return path


@on_one_engine
def test_truncated_recording_is_written_as_far_as_it_is_good_then_continued(
    database: Database, short: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.frames.gz"
    data = short.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(CorruptionError, match="cut short or damaged"):
        run(database, cut)
    ((partly,),) = rows(database, "select count(*) from ticks")
    assert partly > 0
    (whole,) = run(database, short)
    assert whole.counts.frames_before > 0
    assert rows(database, "select count(*) from ticks") == [(partly + whole.counts.ticks,)]
    assert whole.counts.frames_before + whole.counts.frames == 3_000


def test_continued_replay_gives_the_same_rows_as_one_in_one_go(
    database: Database, template: Any, short: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.frames.gz"
    cut.write_bytes(short.read_bytes()[:150_000])
    with pytest.raises(CorruptionError):
        run(database, cut)
    run(database, short)
    with Database(template.create("in_one_go"), None) as other:
        run(other, short)
        statement = """
            select instrument_key, ticks.* from ticks join instruments using (instrument_id)
            order by instrument_key, seq
        """
        one = [row[:2] + row[3:] for row in rows(database, statement)]
        two = [row[:2] + row[3:] for row in rows(other, statement)]
    template.drop("in_one_go")
    assert len(one) > 9_000
    assert one == two


@on_one_engine
def test_another_recording_with_the_same_begin_is_refused(database: Database, short: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.frames.gz"
    frames = [(frame.received_ms, frame.payload) for frame in read_recording(short)]
    write_recording(other, [*frames[:100], *frames[101:]])
    run(database, short)
    with pytest.raises(JournalError, match="--collector NAME"):
        run(database, other)
    (consumer,) = run(database, other, collector="other")
    assert consumer.counts.frames == 2_999


@on_one_engine
def test_frame_that_does_not_parse_is_kept_aside_and_the_rest_goes_on(
    database: Database, short: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.frames.gz"
    frames = [(frame.received_ms, frame.payload) for frame in read_recording(short)][:50]
    bad = b"\xff\xff\xff not a frame"
    write_recording(damaged, [*frames[:20], (frames[20][0], bad), *frames[20:]])
    (consumer,) = run(database, damaged)
    assert (consumer.counts.frames, consumer.counts.quarantined) == (51, 1)
    ((seq, payload, reason),) = rows(database, "select seq, payload, reason from tickline.quarantined_frames")
    assert (seq, bytes(payload)) == (21, bad)
    assert "not a FeedResponse" in reason
    assert rows(database, "select quarantined from tickline.ledger") == [(1,)]
    ((ticks,),) = rows(database, "select count(*) from ticks")
    assert ticks == consumer.counts.ticks > 50


def test_reconcile_says_why_each_minute_differs_and_fails_below_its_threshold(
    replayed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLINE_DATABASE_URL", replayed.url)
    day = ("--day", "2025-12-15", "--format", "csv")
    done = CliRunner().invoke(reconcile_command, [*day, "--threshold", "94"])
    assert done.exit_code == 0, done.output
    summary = pl.read_csv(io.StringIO(done.stdout))
    assert summary.height == 8
    assert summary["unaccounted"].to_list() == [0] * 8
    reasons = dict(re.findall(r"^ *([a-z ]+?) +([\d,]+) minutes", done.stderr, flags=re.MULTILINE))
    assert reasons == {
        "equal": "1,301", "gap": "95", "partial": "8", "no candle": "6", "no tick": "8", "moved": "354",
        "skipped": "1,028", "other": "71",
    }  # fmt: skip
    failed = CliRunner().invoke(reconcile_command, [*day, "--threshold", "95"])
    assert failed.exit_code == 1
    assert "tickline: fewer closes than --threshold (95 %) agree within one price tick" in failed.stderr
    monkeypatch.setattr(reconciling, "READ_AT_ONCE", 3)  # in parts, so that the time left is known
    shown: list[tuple[int, int]] = []
    assert reconciling.reconcile(date(2025, 12, 15), replayed, lambda *done: shown.append(done)).minutes.height == 2_871
    assert shown == [(0, 8), (3, 8), (6, 8)]
    differing = CliRunner().invoke(reconcile_command, [*day, "--minutes"])
    assert pl.read_csv(io.StringIO(differing.stdout)).height == 95 + 8 + 6 + 8 + 354 + 1_028 + 71
