"""What makes a database ready for `start`, at once or when it comes."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest

from ingest.database.connections import HEAD, Database, revision
from ingest.database.readiness import Readiness
from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError, Retryable, SchemaError
from ingest.store.retrying_writer import Abandoned
from ingest.store.writer import Writer
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import quick_writer, wait_until

WITHIN_S = 60.0


def test_embedded_server_that_does_not_start_is_away_until_it_does(home: Path) -> None:
    place = Database.place(load(DatabaseSettings, home=home, database_url=None, engine="postgres"))
    ready = Readiness(place)
    with place:
        assert ready.attempt(WITHIN_S) is None
        with place.connect() as connection:
            assert revision(connection) == HEAD
    conf = home / "postgres" / "data" / "postgresql.conf"
    whole = conf.read_text()
    conf.write_text(whole + "\nno such line\n")
    place = Database.place(load(DatabaseSettings, home=home, database_url=None, engine="postgres"))
    writer = quick_writer(Writer(place.url, "default", Readiness(place)))
    with place, writer:
        assert not writer.meet(WITHIN_S) and writer.is_away
        assert "embedded database did not start" in writer.error.text
        conf.write_text(whole)
        assert writer.resume("1").committed is None
        assert not writer.is_away and not writer.error.lasts


@on_one_engine
def test_database_of_another_engine_or_schema_is_away_and_asked_again(database: Database) -> None:
    other = Database(database.url, None, "timescale" if database.engine == "postgres" else "postgres")
    found = Readiness(other).attempt(WITHIN_S)
    assert isinstance(found, ConfigError) and "database uses engine" in str(found)
    writer = quick_writer(Writer(other.url, "default", Readiness(other)))
    with writer:
        assert not writer.meet(WITHIN_S) and "database uses engine" in writer.error.text
        other.wanted_engine = None
        assert writer.resume("1").committed is None
    with database.connect(autocommit=True) as connection:
        connection.execute("update tickline.alembic_version set version_num = '9999'")
    assert isinstance(Readiness(database).attempt(WITHIN_S), SchemaError)


@on_one_engine
def test_database_that_becomes_ready_late_is_away_until_then(template: Template, database: Database) -> None:
    held, asked = Event(), Event()

    class Slow(Database):
        def bring_up(self) -> None:
            asked.set()
            held.wait(WITHIN_S)

    ready = Readiness(Slow(database.url, None))
    assert isinstance(ready.attempt(0.0), Retryable)
    assert asked.wait(WITHIN_S)
    writer = quick_writer(Writer(database.url, "default", ready))
    with writer:
        assert not writer.meet(0.0) and "did not answer" in writer.error.text
        held.set()
        assert writer.resume("1").committed is None


@on_one_engine
def test_ledger_that_has_numbers_recorded_without_it_is_no_ledger_to_go_on_with(database: Database) -> None:
    insert = (
        "insert into tickline.ledger"
        " (collector, segment, offset_start, offset_end, first_seq, last_seq, frames, ticks, rejected, quarantined,"
        " digest) values ('default', '1/20261129-000000000000001', 0, 9, 1, 100, 1, 0, 0, 0, '0')"
    )
    with database.connect(autocommit=True) as connection:
        connection.execute(insert)
    writer = quick_writer(Writer(database.url, "default"))
    with writer:
        assert writer.meet(WITHIN_S)
        assert writer.resume("1", unused_seq=101).last_seq == 100
        waiting = Thread(target=lambda: [wait_until(lambda: writer.is_away), writer.abandon()])
        waiting.start()
        with pytest.raises(Abandoned):
            writer.resume("1", unused_seq=100)
        waiting.join(WITHIN_S)
        assert "up to seq 100, but records written without the database begin with 100" in writer.error.text
