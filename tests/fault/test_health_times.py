"""How soon `/health` and an alert turn, with the settings as they are by default, and how soon they are well again."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from ingest.database.connections import Database
from ingest.live.observe import alerts
from ingest.simulator.server.app import Simulator
from tests.db.test_status import served
from tests.engines import on_one_engine
from tests.fault.harness import RecordProperty
from tests.fault.live import Running, market, until
from tests.fault.proxy import Proxy
from tests.fault.test_alerts import Service, serving
from tests.simulated import free_port

pytestmark = [pytest.mark.soak, on_one_engine]

TURN_S = 10.0
AWAY_S = alerts.AFTER_S["database_away"]  # people hear of it after a minute
DISK_BYTES = 2**30 + 64 * 2**20


@pytest.fixture
def small_disk(home: Path) -> Iterator[Path]:
    """The journal's folder on a file system that is nearly full as soon as 64 MiB are taken."""
    folder = home / "journal"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(frozen=True)
class Fault:
    """What goes wrong, how it ends, what an alert says of it, and how long it waits on purpose."""

    name: str
    begin: Callable[[], Awaitable[None] | None]
    end: Callable[[], Awaitable[None] | None]
    said: str
    waits_s: float = 0.0


async def status_of(port: int) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as answer:
        return answer.status


async def turned(port: int, status: int) -> float:
    began = time.monotonic()
    while await status_of(port) != status:
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def test_health_and_alert_turn_in_time_and_back(
    database: Database, home: Path, small_disk: Path, record_property: RecordProperty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.upstox.tokens.RETRY_S", 1.0)
    ballast = small_disk / "ballast"

    async def run() -> None:
        port = free_port()
        with Proxy(database.url, home / "p") as proxy:
            async with serving() as (service, url), Simulator(market(), speed=1.0) as simulator:
                given: dict[str, Any] = {
                    "alert_url": url,
                    "api_port": port,
                    "journal_free_bytes_min": 0,
                    "token_poll_s": 0.5,
                }
                run = Running(simulator, SimpleNamespace(url=proxy.url), home, **given)
                keys = sorted(simulator.source.keys)
                await run.begin(keys)
                await run.live()
                await served(port)
                await until(lambda: run.confirmed == len(keys))
                await asyncio.sleep(15)  # so that its usual rate is known
                assert await status_of(port) == 200

                def mute(value: set[str]) -> Callable[[], None]:
                    return lambda: setattr(simulator.faults, "mute", value)

                def refuse() -> None:
                    simulator.faults.refuse = 401
                    simulator.drop_all()

                def accept() -> None:
                    simulator.faults.refuse = None

                faults = [
                    Fault("feed silent", mute(set(keys)), mute(set()), "is silent"),
                    Fault(
                        "token refused",
                        refuse,
                        lambda: setattr(simulator.faults, "refuse", None),
                        "waiting for a token",
                    ),
                    Fault("disk nearly full", lambda: _fill(ballast), ballast.unlink, "disk is nearly full"),
                    Fault("database away", proxy.pause, proxy.resume, "database away", AWAY_S),
                ]
                for fault in faults:
                    await _measure(fault, port, service, record_property)
                await run.end()

    asyncio.run(run())


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(96):
            file.write(bytes(2**20))


async def _measure(fault: Fault, port: int, service: Service, record_property: RecordProperty) -> None:
    service.posted.clear()
    began = time.monotonic()
    fault.begin()
    health_s = await turned(port, 503)
    await until(lambda: any(fault.said in text and ", problem" in text for text in service.texts), 120)
    alert_s = time.monotonic() - began - fault.waits_s
    began = time.monotonic()
    fault.end()
    well_s = await turned(port, 200)
    await until(lambda: any(fault.said in text and ", over" in text for text in service.texts), 120)
    clear_s = time.monotonic() - began
    times = {"health": health_s, "alert": alert_s, "healthy": well_s, "all-clear": clear_s}
    record_property(fault.name, ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()))
    assert health_s < TURN_S and alert_s < TURN_S
