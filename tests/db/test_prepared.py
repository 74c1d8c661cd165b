"""Statements that run often: bound, prepared once, and of use again after every kind of failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ingest.database.connections import break_off
from ingest.database.prepared import PreparedStatements, copy_in, widen
from tests.engines import on_one_engine
from tests.fault.harness import wait_until

pytestmark = on_one_engine

Connection = psycopg.Connection[Any]
INSERT = "insert into kept (id, name) values (%(id)s, %(name)s)"
MANY = 60_000  # rows of a COPY, 9 MB: more than a socket holds


@pytest.fixture
def kept(conn: Connection) -> Iterator[Connection]:
    conn.execute("create table kept (id int primary key, name text)")
    yield conn
    conn.execute("drop table kept")


def names(connection: Connection) -> int:
    row = connection.execute("select count(*) from pg_prepared_statements where name like 'tickline%'").fetchone()
    assert row is not None
    return int(row[0])


def test_each_statement_says_its_rows_and_is_prepared_once(kept: Connection) -> None:
    often = PreparedStatements(kept)
    move = "update kept set id = id + %(by)s where id >= %(least)s"
    for number in range(3):
        counts = often.run(
            ("begin", {}),
            (INSERT, {"id": number * 10, "name": "a"}),
            (INSERT, {"id": number * 10 + 1, "name": None}),
            (move, {"by": 1000, "least": number * 10 + 1}),
            ("select id from kept", {}),
            ("commit", {}),
        )
        assert counts == [0, 1, 1, 1 + number, 2 * (number + 1), 0]
    assert names(kept) == 2  # those with parameters
    assert kept.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_parameters_are_what_they_were(kept: Connection) -> None:
    at = datetime(2025, 12, 15, 3, 45, 0, 123457, tzinfo=UTC)
    values: dict[str, Any] = {
        "whole": 2**62,
        "below": -1,
        "words": 'it\'s "a" \\ {%(below)s} $1 ₹;--',
        "at": at,
        "times": [at, at.replace(microsecond=0)],
        "none": None,
    }
    kept.execute("create temp table given (whole int8, below int2, words text, at timestamptz, times timestamptz[], "
                 "none float8)")  # fmt: skip
    PreparedStatements(kept).run((f"insert into given values ({', '.join(f'%({name})s' for name in values)})", values))
    assert kept.execute("select * from given").fetchone() == tuple(values.values())


def test_first_error_is_raised_and_ends_the_transaction(kept: Connection) -> None:
    often = PreparedStatements(kept)
    one: dict[str, Any] = {"id": 1, "name": "a"}
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        often.run(("begin", {}), (INSERT, one), (INSERT, one), ("select 1 / 0", {}), ("commit", {}))
    assert caught.value.diag.constraint_name == "kept_pkey"
    kept.rollback()
    often.forget()
    assert often.run((INSERT, one)) == [1]


def test_statements_are_prepared_again_after_the_driver_has_dropped_them(kept: Connection) -> None:
    often = PreparedStatements(kept)
    often.run((INSERT, {"id": 1, "name": "a"}))
    kept.execute("select count(*) from kept", prepare=True)  # so that the driver drops all after a rollback
    kept.execute("begin")
    kept.rollback()
    assert names(kept) == 0
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        often.run((INSERT, {"id": 2, "name": "b"}))
    often.forget()
    assert often.run((INSERT, {"id": 2, "name": "b"})) == [1]


def test_copy_is_all_or_nothing(kept: Connection) -> None:
    widen(kept)
    rows = [b"%d\t%s\n" % (number, b"x" * 145) for number in range(MANY)]
    copy_in(kept, "copy kept from stdin", [b"".join(rows[:10]), b"", b"".join(rows[10:])])
    assert kept.execute("select count(*), max(id) from kept").fetchone() == (MANY, MANY - 1)
    kept.execute("truncate kept")
    for bad in (0, MANY // 2, MANY - 1):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            copy_in(kept, "copy kept from stdin", [b"".join([*rows[:bad], b"x\ty\n", *rows[bad:]])])
        with pytest.raises(psycopg.errors.UniqueViolation):
            copy_in(kept, "copy kept from stdin", [b"".join([*rows, rows[bad]])])
    assert kept.execute("select count(*) from kept").fetchone() == (0,)
    with pytest.raises(psycopg.errors.UndefinedTable):
        copy_in(kept, "copy missing from stdin", rows)
    copy_in(kept, "copy kept from stdin", [])
    assert kept.execute("select count(*) from kept").fetchone() == (0,)


def test_wait_ends_when_another_thread_breaks_the_connection(conn: Connection) -> None:
    with psycopg.connect(conn.info.dsn, password=conn.info.password, autocommit=True) as waiting:
        pid = waiting.info.backend_pid
        with ThreadPoolExecutor(1) as threads:
            ended = threads.submit(PreparedStatements(waiting).run, ("select pg_sleep(600)", {}))
            sleeping = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
            wait_until(lambda: conn.execute(sleeping, [pid]).fetchone() == (1,))
            break_off(waiting)
            with pytest.raises(psycopg.OperationalError):
                ended.result(60)
        assert waiting.closed or waiting.broken


@pytest.mark.parametrize("during", ["statement", "copy"])
def test_a_server_process_that_ends_is_an_error(kept: Connection, during: str) -> None:
    locked = "begin; lock kept"
    with (
        psycopg.connect(kept.info.dsn, password=kept.info.password, autocommit=True) as waiting,
        psycopg.connect(kept.info.dsn, password=kept.info.password, autocommit=True) as holder,
    ):
        holder.execute(locked)
        pid = waiting.info.backend_pid
        failed = threading.Event()

        def work() -> None:
            with pytest.raises(psycopg.OperationalError):
                if during == "copy":
                    copy_in(waiting, "copy kept from stdin", [b"1\ta\n"])
                else:
                    PreparedStatements(waiting).run((INSERT, {"id": 1, "name": "a"}))
            failed.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        blocked = "select cardinality(pg_blocking_pids(%s))"
        wait_until(lambda: kept.execute(blocked, [pid]).fetchone() == (1,))
        kept.execute("select pg_terminate_backend(%s, 60000)", [pid])
        assert failed.wait(60)
        holder.rollback()
