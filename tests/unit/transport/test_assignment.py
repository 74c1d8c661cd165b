"""What a collector says of its keys to writers, and what it takes from them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from ingest.errors import ConfigError, JournalError
from ingest.live.distributed.assigned import OwnKeys
from ingest.live.distributed.member import Member
from ingest.transport import assignment
from ingest.transport.assignment import Assignee, routes_of
from ingest.transport.cursor import OtherDatabaseError
from ingest.transport.http_collector import HttpCollector
from ingest.transport.segments import SegmentGoneError, UnreachableError
from ingest.transport.served_journal import ServedJournal
from ingest.transport.server import JournalServer
from ingest.universe.connection_plan import AccountLimits
from tests.unit.transport.assignees import Taking

KEYS = {"NSE_FO|53001": "full", "NSE_INDEX|Nifty 50": "ltpc"}


def served(assignee: Assignee | None) -> JournalServer:
    more = {"more": routes_of(assignee)} if assignee else {}
    journal = ServedJournal("mumbai", {})
    server = JournalServer(journal, None, host="127.0.0.1", port=0, guard=lambda method, headers: None, **more)
    server.start()
    while server.error:
        time.sleep(0.002)
    return server


@pytest.fixture
def taking() -> Iterator[tuple[Taking, int]]:
    server = served(taking := Taking())
    yield taking, server.port
    server.close()


def test_keys_arrive_and_are_said_once(taking: tuple[Taking, int]) -> None:
    collector, port = taking

    async def run() -> None:
        async with HttpCollector(f"http://127.0.0.1:{port}", "token") as source:
            member = Member(source)
            assert (await source.standing("")).keys == {}
            await source.assign(KEYS, "7412/ticks")
            assert collector.keys == KEYS
            await member.ask()
            assert (member.name, member.keys, member.account, member.error) == ("mumbai", KEYS, AccountLimits(), "")
            assert (await source.standing(member.digest)).keys is None
            await member.ask()
            assert member.keys == KEYS
        async with HttpCollector(f"http://127.0.0.1:{port}", None) as source:
            await (stranger := Member(source)).ask()
            assert stranger.refuses.startswith("TICKLINE_COLLECTOR_TOKEN is not set here")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("reason", "error", "says"),
    [
        (OtherDatabaseError("belongs to another"), JournalError, "refuses: belongs to another"),
        (ConfigError("does not fit"), JournalError, "refuses: does not fit"),
        (OSError(28, "No space left on device"), UnreachableError, "answers 503: keys cannot be stored: No space left"),
    ],
)
def test_collector_that_takes_no_keys_says_why(
    taking: tuple[Taking, int], reason: Exception, error: type[Exception], says: str
) -> None:
    collector, port = taking
    collector.error = reason

    async def run() -> None:
        async with HttpCollector(f"http://127.0.0.1:{port}", "token") as source:
            with pytest.raises(error, match=says):
                await source.assign(KEYS, "7412/ticks")

    asyncio.run(run())
    assert collector.keys == {}


def test_collector_that_says_keys_that_cannot_be_stored_is_not_believed(taking: tuple[Taking, int]) -> None:
    collector, port = taking

    async def run() -> None:
        async with HttpCollector(f"http://127.0.0.1:{port}", "token") as source:
            await (member := Member(source)).ask()
            collector.keys = KEYS | {"NSE_FO|1" + chr(0): "full"}
            await member.ask()
            assert member.error.endswith("does not say what it records") and member.keys == {}

    asyncio.run(run())


def test_keys_that_are_none_or_too_many_are_refused(
    taking: tuple[Taking, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, port = taking
    monkeypatch.setattr(assignment, "KEYS_BYTES_MAX", 1_000)

    async def run() -> None:
        async with HttpCollector(f"http://127.0.0.1:{port}", "token") as source:
            for keys in ({"INFY": "full"}, {f"NSE_FO|{number}": "full" for number in range(100)}):
                with pytest.raises(JournalError, match="is no instrument key|the body is not"):
                    await source.assign(keys, "7412/ticks")
            with pytest.raises(JournalError, match="the body is not"):
                await source.assign(KEYS, "")

    asyncio.run(run())
    assert collector.keys == {}


def test_collector_with_keys_of_its_own_or_of_an_older_version_is_left_alone() -> None:
    async def asked(server: JournalServer) -> Member:
        async with HttpCollector(f"http://127.0.0.1:{server.port}", "token") as source:
            await (member := Member(source)).ask()
            with pytest.raises((JournalError, SegmentGoneError)):
                await source.assign(KEYS, "7412/ticks")
        server.close()
        return member

    own = asyncio.run(asked(served(OwnKeys("mumbai", AccountLimits()))))
    assert own.refuses.startswith("it has keys of its own") and not own.error
    old = asyncio.run(asked(served(None)))
    assert old.refuses == "it runs `tickline start`, or an older version" and not old.error
