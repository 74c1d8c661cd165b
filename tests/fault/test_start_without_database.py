"""`start` while the database is away: frames are journalled at once, and committed when it comes."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.database import upgrade as apply
from ingest.database.connections import HEAD, Database
from ingest.errors import Retryable
from ingest.journal.folder import bytes_of, segments_of
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    WITHIN_S,
    Command,
    Ingester,
    Market,
    backlog_bytes,
    check_account,
    check_ticks,
    committed,
    rows,
    stream_folder,
    wait_until,
)
from tests.fault.proxy import Proxy, url_through
from tests.simulated import free_port

NAMES = "NIFTY FUT,RELIANCE"
LIVE_BYTES = 64 * 2**10


@pytest.fixture
def market(home: Path) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "20", "--rate", "400") as market:
        yield market


@pytest.fixture
def away(database: Database, home: Path) -> str:
    """The database's URL through a proxy that is not there yet."""
    return url_through(database.url, home / "p")


def journalled(ingester: Ingester) -> int:
    return bytes_of(segments_of(ingester.folder))


def wait_for_more(ingester: Ingester) -> None:
    """Wait until some frames more are in the journal."""
    ingester.wait_for("feed connected")
    before = journalled(ingester)
    wait_until(lambda: journalled(ingester) > before + 2**13)


def verify(home: Path, url: str) -> None:
    given = {"TICKLINE_HOME": str(home), "TICKLINE_DATABASE_URL": url}
    with Command(home, "verify", **given) as command:
        assert command.process.wait(timeout=WITHIN_S) == 0, command.text()
        assert "it adds up" in command.text()


def test_start_without_the_database_records_and_its_frames_are_committed_when_it_comes(
    database: Database, template: Template, home: Path, market: Market, away: str
) -> None:
    """By names as they were resolved last; killed in between, so that two processes have numbered records blindly."""
    with Ingester(home, market, database.url, TICKLINE_UNIVERSE=NAMES) as ingester:
        wait_until(lambda: committed(database)[1])
        ingester.stop()
    with Ingester(home, market, away, TICKLINE_UNIVERSE=f"{NAMES},NOSUCH") as ingester:
        wait_for_more(ingester)
        assert "name 'NIFTY FUT' is taken as it was on" in ingester.text()
        assert "name 'NOSUCH' is skipped" in ingester.text()
        ingester.kill()
    before = committed(database)
    with Ingester(home, market, away, TICKLINE_UNIVERSE=NAMES) as ingester:
        wait_for_more(ingester)
        assert committed(database) == before
        with Proxy(database.url, home / "p"):
            ingester.wait_for("database is back")
            wait_until(lambda: committed(database) != before)
            wait_until(lambda: backlog_bytes(database, ingester.folder) < LIVE_BYTES)
            ingester.stop()
    assert "Traceback" not in ingester.text()
    ticks = check_account(database, stream_folder(home), skips=2)
    assert check_ticks(database, template, home) == ticks > 0
    verify(home, database.url)


@on_one_engine
def test_stop_of_a_start_without_the_database_says_what_is_in_the_journal_and_the_next_start_commits_it(
    database: Database, home: Path, market: Market, away: str
) -> None:
    """The first start ever; the ledger may have any number, as the journal may have been deleted."""
    with Ingester(
        home, market, away, TICKLINE_UNIVERSE=",".join([*market.keys, "INFY"]), TICKLINE_STOP_S="1"
    ) as ingester:
        wait_for_more(ingester)
        ingester.stop(signal.SIGINT)
        assert "name 'INFY' is skipped, it was not resolved before" in ingester.text()
        assert "records are only in the journal" in ingester.text()
        assert "Traceback" not in ingester.text()
    with Ingester(home, market, database.url) as ingester:
        wait_until(lambda: committed(database)[1] and backlog_bytes(database, ingester.folder) < LIVE_BYTES)
        ingester.stop()
    check_account(database, stream_folder(home), skips=1)
    verify(home, database.url)
    for path in segments_of(stream_folder(home)):  # and nobody knows what the ledger has of it
        path.unlink()
    ((last_seq,),) = rows(database, "select max(last_seq) from tickline.ledger")
    with Ingester(home, market, away) as ingester:
        wait_for_more(ingester)
        with Proxy(database.url, home / "p"):
            wait_until(lambda: rows(database, "select max(last_seq) from tickline.ledger") > [(last_seq,)])
            ingester.stop()
    assert rows(database, "select count(*) = count(distinct (instrument_id, seq)) from ticks") == [(True,)]


@pytest.fixture
def older(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database as an earlier version of this program made it."""
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0004"))
        patch.setattr(apply, "show_kept_bars", lambda _: None)
        apply.upgrade(empty_database)
    return empty_database


def asked(port: int, path: str) -> dict[str, Any]:
    """Return an answer of the ingester, whatever its status; {} while it has none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WITHIN_S) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as exc:
        found = json.load(exc)
    except OSError:
        return {}
    return found


@on_one_engine
def test_schema_that_is_too_old_at_the_start_is_said_and_everything_is_committed_after_the_upgrade(
    older: Database, template: Template, home: Path, market: Market
) -> None:
    port = free_port()
    with Ingester(home, market, older.url, TICKLINE_API_PORT=str(port)) as ingester:
        wait_for_more(ingester)
        health = wait_until(lambda: asked(port, "/health"))
        assert health["status"] == "unhealthy"
        assert f"older than this program's '{HEAD}': run `tickline db upgrade`" in str(health["problems"])
        status = asked(port, "/api/v1/websocket/status")
        assert status["database_away_s"] is not None and not status["is_decoding"]
        assert status["confirmed_keys"] == 0 and not status["failed_keys"]
        with Command(home, "db", "upgrade", TICKLINE_DATABASE_URL=older.url) as command:
            assert command.process.wait(timeout=WITHIN_S) == 0, command.text()
        wait_until(lambda: committed(older)[1] and backlog_bytes(older, ingester.folder) < LIVE_BYTES)
        assert asked(port, "/api/v1/websocket/status")["is_decoding"]
        ingester.stop()
    ticks = check_account(older, stream_folder(home), skips=1)
    assert check_ticks(older, template, home) == ticks > 0


@on_one_engine
def test_connection_that_is_lost_while_the_schema_is_checked_is_an_outage_and_no_error_of_ours(
    database: Database, home: Path
) -> None:
    """A writer that had just been started ended with it, and nobody was left when the other one froze."""
    with Proxy(database.url, home / "p") as proxy:
        sprung = proxy.cut_at(b"select from instruments limit 0")
        with pytest.raises(Retryable):
            Database(proxy.url, None).check()
        assert sprung.wait(WITHIN_S)
        assert Database(proxy.url, None).check() == database.engine


@on_one_engine
def test_start_without_the_database_and_without_a_name_to_record_fails_with_what_is_wrong(
    home: Path, market: Market, away: str
) -> None:
    with Ingester(home, market, away, TICKLINE_UNIVERSE="INFY") as ingester:
        assert ingester.process.wait(timeout=WITHIN_S) == 1
        [said] = [line for line in ingester.text().splitlines() if line.startswith("tickline: ")]
        assert "cannot be reached" in said
