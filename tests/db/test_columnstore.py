"""The columnstore of timescale: what is converted, when, and that nothing which is read or written notices."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from ingest.database import queries
from ingest.database.connections import Database

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.parametrize("engine", ["timescale"], indirect=True)  # the other has no columnstore
DAYS = ("2025-12-15", "2025-12-16")
TICKS = 3_500  # of an instrument on a day
SHARE = "ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at"


def insert(conn: Connection, day: str, *, seq: int = 0, ticks: int = TICKS) -> None:
    """Ticks of two instruments; a later time may have a smaller `seq`."""
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) "
        "select %s::timestamptz + (n - n %% 7) * interval '1 second', instrument, %s + n, n %% 3 > 0, 100 + n %% 50, "
        "n * 10, 10, n, now() from generate_series(1, %s) as n, generate_series(1, 2) as instrument",
        (f"{day} 04:00+00", seq, ticks),
    )


def job(conn: Connection) -> int:
    rows = conn.execute("select job_id from timescaledb_information.jobs where proc_name = 'compress_ticks'").fetchall()
    assert len(rows) == 1
    return int(rows[0][0])


def batches(conn: Connection) -> list[tuple[str, int, int, int]]:
    """Per converted chunk of ticks, oldest first: its day, its batches, the rows of the largest, and of all."""
    chunks = conn.execute(
        "select range_start::date::text, settings.compress_relid::regclass from timescaledb_information.chunks "
        "join _timescaledb_catalog.compression_settings as settings "
        "on settings.relid = format('%I.%I', chunk_schema, chunk_name)::regclass "
        "where hypertable_name = 'ticks' and is_compressed order by 1"
    ).fetchall()
    found: list[tuple[str, int, int, int]] = []
    for day, relation in chunks:
        counts = "count(*), max(_ts_meta_count), sum(_ts_meta_count)::int8"
        found += [(day, *row) for row in conn.execute(f"select {counts} from {relation}").fetchall()]
    return found


def stored(conn: Connection, day: str) -> tuple[set[str], int]:
    """How the columns of a converted chunk are stored, those of numbers first, and its bytes."""
    (relation,) = conn.execute(
        "select settings.compress_relid::regclass::text from timescaledb_information.chunks "
        "join _timescaledb_catalog.compression_settings as settings "
        "on settings.relid = format('%%I.%%I', chunk_schema, chunk_name)::regclass "
        "where hypertable_name = 'ticks' and range_start::date = %s",
        (day,),
    ).fetchone() or ("",)
    rows = conn.execute(
        "select attstorage::text from pg_attribute where attrelid = %s::regclass and attnum > 0 and attlen < 0",
        (relation,),
    ).fetchall()
    (size,) = conn.execute("select pg_total_relation_size(%s::regclass)", (relation,)).fetchone() or (0,)
    return {storage for (storage,) in rows}, size


def seen(conn: Connection) -> list[list[Any]]:
    """What readers get of the two days."""
    statements = [
        f"select {SHARE} from ticks order by instrument_id, ts, seq",
        "select ts, seq, ltp from ticks where instrument_id = 1 and ts >= '2025-12-15 04:10+00' "
        "and ts < '2025-12-15 04:15+00' order by ts, seq",
        "select last.ts, last.seq from (values (1), (2)) as wanted (id) cross join lateral (select ts, seq from ticks "
        "where instrument_id = wanted.id order by ts desc, seq desc limit 1) as last",
        "select instrument_id, max(vtt), sum(volume) filter (where traded) from ticks group by 1 order by 1",
        "select bars_1m.* from bars_1m order by instrument_id, bucket",
    ]
    return [conn.execute(statement).fetchall() for statement in statements]


def test_ticks_get_larger_batches_and_chunks_in_the_former_ones_stay_and_are_read(conn: Connection) -> None:
    insert(conn, DAYS[0])
    insert(conn, DAYS[1])
    before = seen(conn)
    (former, _) = (row[0] for row in conn.execute("select show_chunks('ticks')::text order by 1").fetchall())
    conn.execute("call convert_to_columnstore(%s::regclass)", (former,))
    conn.execute("call run_job(%s)", (job(conn),))
    assert batches(conn) == [(DAYS[0], 8, 1_000, 2 * TICKS), (DAYS[1], 4, 2_400, 2 * TICKS)]
    assert seen(conn) == before
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": DAYS[0], "to_ts": "2025-12-17"})
    assert seen(conn) == before
    assert conn.execute("show timescaledb.compression_batch_size_limit").fetchone() == ("1000",)


def test_batches_are_packed_and_those_of_chunks_that_are_converted_already_stay(conn: Connection) -> None:
    insert(conn, DAYS[0])
    insert(conn, DAYS[1])
    (former, _) = (row[0] for row in conn.execute("select show_chunks('ticks')::text order by 1").fetchall())
    conn.execute("set timescaledb.compression_batch_size_limit = 2400")
    conn.execute("call convert_to_columnstore(%s::regclass)", (former,))
    loose = stored(conn, DAYS[0])
    conn.execute("call run_job(%s)", (job(conn),))
    assert stored(conn, DAYS[0]) == loose and loose[0] == {"e"}
    storage, size = stored(conn, DAYS[1])
    assert storage == {"x"} and size < loose[1]


def test_transaction_that_began_before_a_day_was_converted_sees_its_ticks(database: Database, conn: Connection) -> None:
    insert(conn, DAYS[0])
    before = seen(conn)
    with database.connect() as other:
        other.execute("set transaction isolation level repeatable read")
        other.execute("select count(*) from instruments")
        conn.execute("call run_job(%s)", (job(conn),))
        assert stored(conn, DAYS[0])[0] == {"x"}
        assert seen(other) == before


def test_late_ticks_of_a_converted_day_are_read_at_once_and_join_its_batches_in_the_next_run(conn: Connection) -> None:
    insert(conn, DAYS[0])
    conn.execute("call run_job(%s)", (job(conn),))
    insert(conn, DAYS[0], seq=10_000, ticks=5)
    before = seen(conn)
    assert len(before[0]) == 2 * TICKS + 10
    for _ in range(2):
        conn.execute("call run_job(%s)", (job(conn),))
        assert seen(conn) == before
    assert sum(row[3] for row in batches(conn)) == 2 * TICKS + 10
    assert stored(conn, DAYS[0])[0] == {"x"}


def test_day_that_cannot_be_converted_does_not_keep_the_others_from_it_and_the_job_says_so(
    database: Database, conn: Connection
) -> None:
    for day in DAYS:
        insert(conn, day, ticks=10)
    (first, _) = (row[0] for row in conn.execute("select show_chunks('ticks')::text order by 1").fetchall())
    conn.execute("set lock_timeout = '50ms'")
    with database.connect() as other:
        other.execute(f"lock table {first} in access exclusive mode")
        with pytest.raises(psycopg.Error, match=f"not converted to the columnstore: {first}: .*lock"):
            conn.execute("call run_job(%s)", (job(conn),))
    assert [day for day, *_ in batches(conn)] == [DAYS[1]]
    conn.execute("call run_job(%s)", (job(conn),))
    assert [day for day, *_ in batches(conn)] == list(DAYS)


def test_day_that_is_not_over_is_not_converted(conn: Connection) -> None:
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, received_at) values (now(), 1, 1, false, now()), "
        "(now() - interval '23 hours', 1, 2, false, now())"
    )
    conn.execute("call run_job(%s)", (job(conn),))
    assert batches(conn) == []
