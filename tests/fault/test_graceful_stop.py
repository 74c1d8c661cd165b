"""SIGTERM and SIGINT: what was received is committed, or is in the journal and committed by the next start."""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingest.database.connections import Database
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    NEVER_S,
    Ingester,
    Market,
    Within,
    backlog_bytes,
    check_account,
    check_ticks,
    committed,
    rows,
    stream_folder,
    wait_until,
)
from tests.fault.live import Running, until
from tests.fault.proxy import Proxy
from tests.simulated import free_port

STOP_S_MAX = 5.0
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def market(home: Path, is_timed: bool) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "200", "--rate", "5000" if is_timed else "1500") as market:
        yield market


@pytest.fixture
def proxy(database: Database, home: Path) -> Iterator[Proxy]:
    with Proxy(database.url, home / "p") as proxy:
        yield proxy


def patient(proxy: Proxy) -> str:
    """The proxy's URL for a client that gives up a silent connect long after the test has failed."""
    return f"{proxy.url}&connect_timeout={NEVER_S}"


def check_gave_up(ingester: Ingester, stop_s: float) -> None:
    """The deadline ended the stop, and nothing else: the database is silent still."""
    (said,) = [line for line in ingester.text().splitlines() if "stopped before everything was committed" in line]
    assert f"stop_s={stop_s:g} " in said


def commit_the_rest(home: Path, market: Market, database: Database, template: Template, within: Within) -> None:
    """Start once more, and see that nothing is missing and nothing is there twice."""
    with Ingester(home, market, database.url) as ingester:
        before = committed(database)
        wait_until(lambda: committed(database) > before and backlog_bytes(database, ingester.folder) < 2**18)
        ingester.stop(within_s=within(STOP_S_MAX))
    check_account(database, stream_folder(home))
    check_ticks(database, template, home)


@on_one_engine
@pytest.mark.parametrize("number", SIGNALS)
def test_stop_commits_everything_received_and_exits_0(
    database: Database, home: Path, market: Market, number: signal.Signals, within: Within
) -> None:
    with Ingester(home, market, database.url) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        ingester.stop(number, within_s=within(STOP_S_MAX))
        assert "received" in ingester.text()
    assert check_account(database, ingester.folder) > 0


@on_one_engine
@pytest.mark.parametrize(
    ("reconnecting", "stop_s"), [(False, 4.0), (True, 1.0)], ids=["silent", "silent_to_new_connections"]
)
def test_stop_while_the_database_is_silent_leaves_the_rest_to_the_next_start(
    database: Database,
    template: Template,
    home: Path,
    market: Market,
    proxy: Proxy,
    reconnecting: bool,
    stop_s: float,
    within: Within,
) -> None:
    with Ingester(home, market, patient(proxy), TICKLINE_STOP_S=str(stop_s)) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        proxy.pause()
        if reconnecting:
            proxy.cut()
            ingester.wait_for("trying again")
        wait_until(lambda: backlog_bytes(database, ingester.folder) > 2**18)
        ingester.stop(within_s=within(stop_s + 1.0))
        check_gave_up(ingester, stop_s)
    assert backlog_bytes(database, ingester.folder) > 2**18
    proxy.cut()
    commit_the_rest(home, market, database, template, within)


@on_one_engine
def test_stop_while_neither_feed_nor_database_answers_still_ends_in_time(
    database: Database, home: Path, market: Market, proxy: Proxy, within: Within
) -> None:
    with Ingester(home, market, patient(proxy), TICKLINE_STOP_S="2.5") as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        proxy.pause()
        wait_until(lambda: backlog_bytes(database, ingester.folder) > 2**18)
        market.process.send_signal(signal.SIGSTOP)
        ingester.stop(within_s=within(3.5))
        check_gave_up(ingester, 2.5)


def test_stop_with_little_time_and_a_feed_that_does_not_answer_commits_all_and_makes_bars(
    database: Database, home: Path, market: Market, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To wait for the feed's goodbye took all of the time, and what was committed long ago was said to be left."""
    monkeypatch.setattr("ingest.feed.connection.CLOSE_TIMEOUT_S", float(NEVER_S))
    folder = stream_folder(home)
    there: Any = SimpleNamespace(url=market.settings["UPSTOX_API_URL"], token=market.settings["UPSTOX_ACCESS_TOKEN"])

    async def run() -> None:
        run = Running(there, database, home, stop_s=12.0)  # a share of it for the goodbye, and enough for the rest
        await run.begin(market.keys)
        await until(lambda: committed(database)[1] > 2**17)
        market.freeze()
        await until(lambda: backlog_bytes(database, folder) == 0)
        await run.end()

    asyncio.run(run())
    assert not any(word in caplog.text for word in ("stopped before", "not refreshed"))
    check_account(database, folder)
    (left,) = rows(database, "select count(*) from tickline.touched_minutes")
    assert left == (1,)  # it still forms


@on_one_engine
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGINT),
        *(pytest.param(number, number, marks=pytest.mark.soak) for number in SIGNALS),
    ],
)
def test_second_signal_exits_at_once_and_loses_nothing(
    database: Database,
    template: Template,
    home: Path,
    market: Market,
    proxy: Proxy,
    first: signal.Signals,
    second: signal.Signals,
    within: Within,
) -> None:
    with Ingester(home, market, patient(proxy)) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        proxy.pause()
        wait_until(lambda: backlog_bytes(database, ingester.folder) > 2**18)
        ingester.process.send_signal(first)
        ingester.wait_for("stopping: the feed is closed")
        ingester.process.send_signal(second)
        assert ingester.process.wait(timeout=within(1.0)) != 0
    proxy.cut()
    commit_the_rest(home, market, database, template, within)


@on_one_engine
def test_stop_does_not_wait_for_a_question_that_a_silent_database_was_asked(
    database: Database, template: Template, home: Path, market: Market, proxy: Proxy, within: Within
) -> None:
    port = free_port()
    given = {"TICKLINE_STOP_S": "2", "TICKLINE_POOL_WAIT_S": NEVER_S, "TICKLINE_API_PORT": str(port)}
    with Ingester(home, market, patient(proxy), **given) as ingester:
        wait_until(lambda: committed(database)[1] > 2**18)
        proxy.pause()
        with pytest.raises(TimeoutError):  # it counts the gaps of the day
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/websocket/status", timeout=0.5)
        ingester.stop(within_s=within(3.5))
        check_gave_up(ingester, 2.0)
    proxy.cut()
    commit_the_rest(home, market, database, template, within)
