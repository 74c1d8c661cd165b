"""Results of queries as columns: what psycopg reads, value for value."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from typing import Any

import polars as pl
import psycopg
import pytest

from analytics.read import copy_reader
from analytics.read.copy_reader import CopyReader, read_frame
from ingest.database.connections import Database
from ingest.errors import Rejected, Retryable, SchemaError, StoreError
from tests.fault.harness import WITHIN_S, wait_until

MIXED = """
    select
        n::int4 as id,
        case when n % 3 > 0 then n::int2 end as small,
        case when n % 5 > 0 then n * 10000000000 end as large,
        case when n % 2 > 0 then n / 7.0::float8 end as price,
        case when n % 4 > 0 then n % 3 = 0 end as traded,
        case when n % 7 > 0 then timestamptz '2025-12-15 03:45:00.000001+00' + n * interval '1 second' end as ts,
        case when n % 6 > 0 then date '1999-12-30' + n end as day,
        null::float8 as iv
    from generate_series(1, {rows}) as n
"""


@pytest.mark.parametrize("rows", [0, 1, 20_000])
def test_columns_are_those_of_psycopg(
    database: Database, conn: psycopg.Connection[Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MIXED.format(rows=rows)
    expected = conn.execute(text).fetchall()
    for batch_bytes in (1, 1_000, 2**20):  # rows are taken one by one, with the end among them, and all at once
        monkeypatch.setattr(copy_reader, "BATCH_BYTES", batch_bytes)
        frame = read_frame(database.url, text)
        assert frame.rows() == expected
    assert list(frame.schema.values()) == [
        pl.Int32, pl.Int16, pl.Int64, pl.Float64, pl.Boolean, pl.Datetime("us", "UTC"), pl.Date, pl.Float64,
    ]  # fmt: skip


def test_extremes_that_stand_for_null_are_null(database: Database) -> None:
    text = (
        "select '-infinity'::timestamptz as ts, 'NaN'::float8 as price, (-32768)::int2 as small, 'inf'::float8 as far"
    )
    assert read_frame(database.url, text).row(0) == (None, None, None, float("inf"))


def test_stream_gives_all_rows_in_their_order_and_in_parts(database: Database) -> None:
    taken: list[pl.DataFrame] = []
    with CopyReader(database.url) as reader:
        reader.stream("select n from generate_series(1, 500000) as n order by n", taken.append, 100_000)
        assert pl.concat(taken)["n"].to_list() == list(range(1, 500_001))
        assert all(frame.height >= 100_000 for frame in taken[:-1])
        assert len(taken) in {4, 5}


def test_stream_raises_what_the_taker_raises(database: Database) -> None:
    def full(_: pl.DataFrame) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # of the file that is written, not of the connection

    with CopyReader(database.url) as reader, pytest.raises(OSError, match="No space left"):
        reader.stream("select n from generate_series(1, 500000) as n", full, 1_000)


def test_lists_run_side_by_side_and_their_queries_one_after_the_other(database: Database) -> None:
    own = "select pg_backend_pid() as pid, clock_timestamp() as at"
    with CopyReader(database.url, connections=2) as reader:
        [[first, second], [other]] = reader.read([[own, own], [own]])
    assert first["pid"].item() == second["pid"].item() != other["pid"].item()
    assert first["at"].item() < second["at"].item()


def test_session_is_ours_and_options_of_the_url_are_kept(database: Database) -> None:
    separator = "&" if "?" in database.url else "?"
    url = f"{database.url}{separator}options=-c%20work_mem%3D5MB&connect_timeout=60&keepalives=1"
    text = (
        "select current_setting('work_mem') = '5MB' as kept, current_setting('timezone') = 'UTC' as utc, "
        "current_setting('application_name') = 'tickline' as named"
    )
    assert read_frame(url, text).row(0) == (True, True, True)


def test_errors_are_ours(database: Database, tmp_path: Any) -> None:
    with pytest.raises(SchemaError, match='refused: relation "no_such" does not exist') as error:
        read_frame(database.url, "select x from no_such")
    assert "\n" not in str(error.value)
    with pytest.raises(Rejected, match="refused: division by zero"):  # after many good rows
        read_frame(database.url, "select 1 / (n - 100000) as x from generate_series(1, 200000) as n")
    with pytest.raises(StoreError, match="'name' of a query has a type that is not read: 'text'"):
        read_frame(database.url, "select 'x'::text as name")
    with pytest.raises(Retryable):
        read_frame(f"postgresql://u:secret@/tickline?host={tmp_path}", "select 1 as x")


def test_server_that_ends_the_session_is_retryable(database: Database, conn: psycopg.Connection[Any]) -> None:
    with CopyReader(database.url) as reader:
        [[frame]] = reader.read([["select pg_backend_pid() as pid"]])
        conn.execute("select pg_terminate_backend(%s)", (frame["pid"].item(),))
        with pytest.raises(Retryable):
            reader.read([["select 1 as x"]])


ENDLESS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its children to ignore it
from analytics.read.copy_reader import CopyReader
with CopyReader(sys.argv[1]) as reader:
    print("reading", flush=True)
    reader.read([["select n from generate_series(1, 1000000000) as n"]])
"""


def test_interrupt_ends_a_long_read(database: Database, conn: psycopg.Connection[Any]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, database.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    copying = "select count(*) from pg_stat_activity where query like 'COPY%' and datname = current_database()"
    wait_until(lambda: conn.execute(copying).fetchone() == (1,))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WITHIN_S)
    assert errors.strip().endswith("KeyboardInterrupt") and "destroyed" not in errors
    wait_until(lambda: conn.execute(copying).fetchone() == (0,))
