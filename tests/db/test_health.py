"""Health: each condition that it must know, on a real ingestion, and back to healthy when it is over."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.feed.frame_rate import Verdict
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.live.observe.conditions import CONDITIONS
from ingest.live.observe.health import DATABASE_AWAY_S, TROUBLE_S, health
from ingest.live.observe.observer import Observer, ask_disk
from ingest.live.status import websocket_status
from ingest.market.time import moment
from ingest.simulator.server.app import Simulator
from ingest.simulator.server.faults import Faults
from ingest.time_source import TimeSource
from tests.engines import on_one_engine
from tests.fault.live import Running, market, running, until

SILENT_S = 1.5  # longer than from one look of the watchdog to the next

Step = Callable[[Running, pytest.MonkeyPatch], Awaitable[None]]


async def unsubscribe_all(run: Running, _: pytest.MonkeyPatch) -> None:
    run.ingestion.unsubscribe(list(run.ingestion.keys))


async def subscribe_all(run: Running, _: pytest.MonkeyPatch) -> None:
    run.ingestion.subscribe(sorted(run.simulator.source.keys), "full")
    await until(lambda: run.confirmed == len(run.ingestion.keys))


async def unsubscribe_some(run: Running, _: pytest.MonkeyPatch) -> None:
    run.ingestion.unsubscribe(list(run.ingestion.keys)[:2])


async def refuse(run: Running, status: int, state: State) -> None:
    run.simulator.faults.refuse = status
    run.simulator.drop_all()
    feed = run.ingestion.streams[0].feed
    await until(lambda: feed.life.state is state and feed.error.lasts and f"{status}" in feed.error.text)
    subscriptions = websocket_status(run.ingestion)["subscriptions"]
    assert (subscriptions["subscribed_count"], subscriptions["total_symbols"]) == (0, 12)
    assert not websocket_status(run.ingestion)["websocket_connected"]


async def refused(run: Running, _: pytest.MonkeyPatch) -> None:
    await refuse(run, 403, State.BACKING_OFF)


async def token_ended(run: Running, _: pytest.MonkeyPatch) -> None:
    await refuse(run, 401, State.WAITING_FOR_TOKEN)


async def let_in(run: Running, patch: pytest.MonkeyPatch) -> None:
    run.simulator.faults.refuse = None
    patch.setattr("ingest.upstox.tokens.RETRY_S", 0.0)
    await until(lambda: run.confirmed == len(run.ingestion.keys) and not run.ingestion.streams[0].feed.error.lasts)


async def closed_and_refused(run: Running, patch: pytest.MonkeyPatch) -> None:
    await refused(run, patch)
    patch.setattr(run.ingestion.watchdog, "is_open", lambda _: False)


async def mute(run: Running, _: pytest.MonkeyPatch) -> None:
    """A key is never answered, though it is asked for once more: it stays counted."""
    key = sorted(run.simulator.source.keys)[0]
    run.simulator.faults.mute = {key}
    feed = run.ingestion.streams[0].feed
    while feed.states.in_state(KeyState.FAILED) != [key]:  # a frame that was on its way may answer it once more
        run.ingestion.unsubscribe([key])
        await until(lambda: run.confirmed == 11)
        run.ingestion.subscribe([key], "full")
        await until(lambda: run.confirmed == 12 or feed.states.in_state(KeyState.FAILED) == [key])
    assert run.ingestion.retry() == [key]
    await until(lambda: feed.states._keys[key].failures == 2)
    assert websocket_status(run.ingestion)["subscriptions"]["failed_count"] == 1


async def unmute(run: Running, _: pytest.MonkeyPatch) -> None:
    run.simulator.faults.mute = set()
    assert len(run.ingestion.retry()) == 1
    await until(lambda: run.confirmed == 12)
    assert websocket_status(run.ingestion)["subscriptions"]["failed_count"] == 0


async def mute_all(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run.ingestion.watchdog._settings, "feed_silent_s", SILENT_S)
    run.simulator.faults.mute = set(run.simulator.source.keys)
    await until(lambda: health(run.ingestion)["status"] == "unhealthy")


async def unmute_all(run: Running, _: pytest.MonkeyPatch) -> None:
    run.simulator.faults.mute = set()


def token(issued: timedelta, ends: timedelta) -> Step:
    """The token in use says when it ends, from now."""

    async def step(run: Running, patch: pytest.MonkeyPatch) -> None:
        now = datetime.now(UTC)
        claims = {"iat": (now + issued).timestamp(), "exp": (now + ends).timestamp()}
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        patch.setattr(run.ingestion.streams[0].feed.api.tokens, "_current", f"e30.{body}.c2ln")

    return step


async def silent_key(run: Running, patch: pytest.MonkeyPatch) -> None:
    states = run.ingestion.streams[0].feed.states
    patch.setattr(run.ingestion.watchdog, "_heard_keys", lambda *_: [])
    patch.setattr(next(iter(states._keys.values())), "state", KeyState.SILENT)


async def disk_nearly_full(run: Running, patch: pytest.MonkeyPatch) -> None:
    ask_disk(run.ingestion)
    free, settings = run.ingestion.facts.journal_free_bytes, run.ingestion.streams[0].settings
    assert free is not None and health(run.ingestion)["status"] == "healthy"
    patch.setattr(settings, "journal_free_bytes_min", free - settings.journal_room_bytes_warn // 2)
    ask_disk(run.ingestion)


async def quota_nearly_used(run: Running, patch: pytest.MonkeyPatch) -> None:
    stream = run.ingestion.streams[0]
    patch.setattr(stream.reader, "backlog_bytes", lambda: int(0.9 * stream.settings.journal_quota_bytes))
    ask_disk(run.ingestion)


async def quota_free(run: Running, patch: pytest.MonkeyPatch) -> None:
    ask_disk(run.ingestion)


async def gap(run: Running, _: pytest.MonkeyPatch) -> None:
    """A break of the feed eleven minutes ago, one that is repaired, one of an instrument, and a fresh one."""
    at = run.ingestion.watchdog.market_time()
    assert at is not None
    with run.database.connect(autocommit=True) as connection:
        for minutes, repaired, instrument in ((11, None, None), (12, at, None), (13, None, 1), (5, None, None)):
            connection.execute(
                "insert into feed_gaps (collector, connection, instrument_id, started_at, ended_at, reason,"
                " repaired_at) values ('default', '1', %s, %s, %s, 'test', %s)",
                [instrument, at - timedelta(minutes=minutes, seconds=1), at - timedelta(minutes=minutes), repaired],
            )
    await Observer(run.ingestion).ask_database()


async def gap_repaired(run: Running, _: pytest.MonkeyPatch) -> None:
    with run.database.connect(autocommit=True) as connection:
        connection.execute("delete from feed_gaps where reason = 'test'")
    await Observer(run.ingestion).ask_database()


def verdict(value: Verdict) -> Step:
    async def step(run: Running, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(run.ingestion.watchdog, "verdict", lambda _: value)

    return step


async def no_data(run: Running, patch: pytest.MonkeyPatch) -> None:
    life = run.ingestion.streams[0].feed.life
    patch.setattr(life, "state", State.SUBSCRIBING)
    patch.setattr(life, "since_s", life.since_s - 2 * TROUBLE_S)


async def disk_full(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run.ingestion.streams[0].feed.write_queue, "error", "no space left")


async def database_away(run: Running, patch: pytest.MonkeyPatch) -> None:
    run.ingestion.writer.error.happened("refused")
    patch.setattr(run.ingestion.writer, "away_since", time.monotonic() - DATABASE_AWAY_S - 1)


async def database_away_a_moment(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run.ingestion.writer, "away_since", time.monotonic())


async def commit_unanswered(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(type(run.ingestion.streams[0].consumer), "commit_s", DATABASE_AWAY_S + 1)


async def backfill_fails(run: Running, _: pytest.MonkeyPatch) -> None:
    run.ingestion.errors.of("backfill").happened("the vendor answered 500")


async def backfill_works(run: Running, _: pytest.MonkeyPatch) -> None:
    run.ingestion.errors.of("backfill").over()


async def mended(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.undo()


# What happens; what `problems` and `warnings` say then, "" being nothing; what ends it.
MATRIX: list[tuple[Step, str, str, Step]] = [
    (mended, "", "", mended),
    (unsubscribe_some, "", "2 keys of the universe are unsubscribed by hand", subscribe_all),
    (unsubscribe_all, "12 keys of the universe are unsubscribed by hand", "", subscribe_all),
    (refused, "refused (403)", "", let_in),
    (token_ended, "waiting for a token", "", let_in),
    (closed_and_refused, "", "", let_in),
    (mute, "", "1 of 12 keys are not answered", unmute),
    (silent_key, "", "1 of 12 keys are silent: NSE_", mended),
    (mute_all, "is silent", "", unmute_all),
    (token(timedelta(hours=-20), timedelta(minutes=50)), "", "the access token ends at ", mended),
    (token(timedelta(hours=-20), timedelta(minutes=-1)), "", "the access token ended at ", mended),
    (token(timedelta(hours=-20), timedelta(minutes=70)), "", "", mended),
    (token(timedelta(days=-362), timedelta(days=2)), "", "the access token ends at ", mended),
    (token(timedelta(days=-362), timedelta(days=4)), "", "", mended),
    (disk_nearly_full, "disk is nearly full: it may take", "", mended),
    (quota_nearly_used, "uncommitted bytes of", "", quota_free),
    (gap, "", "1 gaps of today are not repaired 10 minutes after their end", gap_repaired),
    (verdict(Verdict.QUIET), "is silent", "", mended),
    (verdict(Verdict.DEAD), "is silent", "", mended),
    (verdict(Verdict.SLOW), "is slow", "", mended),
    (no_data, "brings no data", "", mended),
    (disk_full, "no space left", "", mended),
    (database_away, "database away for", "", mended),
    (database_away_a_moment, "", "", mended),
    (commit_unanswered, "a commit is not answered", "", mended),
    (backfill_fails, "", "backfill failed: the vendor answered 500", backfill_works),
]


def is_well(run: Running) -> bool:
    found = health(run.ingestion)
    return (found["status"], found["problems"], found["warnings"]) == ("healthy", [], [])


@on_one_engine
def test_health_knows_each_condition_and_its_end(database: Database, home: Path) -> None:
    async def run() -> None:
        given = {"confirm_s": 0.5, "token_poll_s": 0.05}
        async with running(database, home, market(12, 200.0), **given) as run:
            await run.live()
            await until(lambda: run.confirmed == 12 and is_well(run))
            for begin, problem, warning, end in MATRIX:
                with pytest.MonkeyPatch.context() as patch:
                    await begin(run, patch)
                    found: Any = health(run.ingestion)
                    name = getattr(begin, "__name__", begin)
                    assert found["status"] == ("unhealthy" if problem else "healthy"), (name, found)
                    for said, expected in (("problems", problem), ("warnings", warning)):
                        assert len(found[said]) == bool(expected), (name, found)
                        assert expected in "".join(found[said]), (name, found)
                    said = found["conditions"]
                    assert len(said) == bool(problem) + bool(warning) and all(one["id"] in CONDITIONS for one in said)
                    assert [one["since"] for one in health(run.ingestion)["conditions"]] == [
                        one["since"] for one in said
                    ]
                    patch.undo()
                    await end(run, patch)
                await until(lambda: is_well(run))

    asyncio.run(run())


class Dated(TimeSource):
    """The machine's clock, set to another time."""

    ahead_us = 0

    def set(self, at: datetime) -> None:
        self.ahead_us += int((at - self.now()).total_seconds() * 1e6)

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


@on_one_engine
def test_health_of_a_token_refused_before_the_first_frame_hangs_on_the_calendar(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Sunday and at night nothing should flow; an hour before the session a person should know."""
    monkeypatch.setattr("ingest.live.observe.health.environment", lambda _: "production")
    clock = Dated()
    clock.set(moment(date(2026, 11, 29), clock_time(12)))

    async def run() -> None:
        async with Simulator(market(12), faults=Faults(refuse=401)) as simulator:
            run = Running(simulator, database, home, clock)
            await run.begin(sorted(simulator.source.keys))
            await until(lambda: run.ingestion.streams[0].feed.life.state is State.WAITING_FOR_TOKEN)
            for day, hour, status, ids in (
                (29, 12, "healthy", []),  # a Sunday
                (30, 7, "healthy", []),
                (30, 8.5, "healthy", ["token_refused"]),
                (30, 10, "unhealthy", ["token_refused"]),
                (30, 22, "healthy", []),
            ):
                clock.set(moment(date(2026, 11, day), clock_time(int(hour), int(hour % 1 * 60))))
                found = health(run.ingestion)
                assert (found["status"], [one["id"] for one in found["conditions"]]) == (status, ids), (
                    day,
                    hour,
                    found,
                )
            await run.end()

    asyncio.run(run())
