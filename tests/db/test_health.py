"""Health: each condition that it must know, on a real ingestion, and back to healthy when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.feed.frame_rate import Verdict
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.live.status import TROUBLE_S, health, websocket_status
from tests.engines import on_one_engine
from tests.fault.live import Running, market, running, until

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
    patch.setattr(run.ingestion.writer, "away_since", time.monotonic() - TROUBLE_S - 1)


async def database_away_a_moment(run: Running, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(run.ingestion.writer, "away_since", time.monotonic())


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
    (verdict(Verdict.QUIET), "is silent", "", mended),
    (verdict(Verdict.DEAD), "is silent", "", mended),
    (verdict(Verdict.SLOW), "is slow", "", mended),
    (no_data, "brings no data", "", mended),
    (disk_full, "no space left", "", mended),
    (database_away, "database away for", "", mended),
    (database_away_a_moment, "", "", mended),
    (backfill_fails, "", "backfill failed: the vendor answered 500", backfill_works),
]


def is_well(run: Running) -> bool:
    found = health(run.ingestion)
    return (found["status"], found["problems"], found["warnings"]) == ("healthy", [], [])


@on_one_engine
def test_health_knows_each_condition_and_its_end(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home, market(12, 200.0), confirm_s=0.5, token_poll_s=0.05) as run:
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
                    patch.undo()
                    await end(run, patch)
                await until(lambda: is_well(run))

    asyncio.run(run())
