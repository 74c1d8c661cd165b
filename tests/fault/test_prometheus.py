"""A real Prometheus: it scrapes a real recording, its rules load, and an alert fires while its condition holds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingest.database.connections import Database
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.fault.live import running, until
from tests.simulated import free_port

RULES = REPOSITORY / "ingest" / "deploy" / "prometheus" / "tickline.rules.yml"
Ask = Callable[[str], Any]


@asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[Ask]:
    """Prometheus with our rules, which scrapes a port of this machine twice a second."""
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nrule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: tickline, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
    )
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(path: str) -> Any:
                try:
                    async with session.get(f"/api/v1/{path}") as answer:
                        return (await answer.json())["data"]
                except (aiohttp.ClientError, ValueError):
                    return None  # it is starting

            yield ask
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    "fires", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["rules load", "alert fires"]
)
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
@on_one_engine
def test_prometheus_scrapes_a_recording_and_an_alert_fires_while_the_feed_is_silent(
    database: Database, home: Path, tmp_path: Path, fires: bool
) -> None:
    port = free_port()

    async def eventually(asked: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(WITHIN_S):
            while (found := await asked()) is None or not holds(found):
                await asyncio.sleep(0.1)
        return found

    async def run() -> None:
        given: dict[str, Any] = {"feed_silent_s": 0.5} if fires else {}
        async with running(database, home, api_port=port, **given) as run:
            async with prometheus(tmp_path, port) as ask:
                await run.live()

                def alerts(found: Any) -> set[str]:
                    return {one["labels"]["alertname"] for one in found["alerts"] if one["state"] == "firing"}

                ticks = await eventually(lambda: ask("query?query=tickline_ticks_total"), lambda one: one["result"])
                assert 0 < float(ticks["result"][0]["value"][1]) <= run.ticks

                def are_up(found: Any) -> bool:  # on a busy machine a scrape may take longer than half a second
                    return [(one["health"], one["lastError"]) for one in found["activeTargets"]] == [("up", "")]

                await eventually(lambda: ask("targets"), are_up)
                groups = (await eventually(lambda: ask("rules"), lambda one: one["groups"]))["groups"]
                assert len(groups[0]["rules"]) > 20 and {one["health"] for one in groups[0]["rules"]} <= {
                    "ok",
                    "unknown",
                }
                assert alerts(await eventually(lambda: ask("alerts"), lambda one: True)) == set()
                if not fires:
                    return
                await until(lambda: run.ingestion.watchdog.rate(run.ingestion.streams[0].feed) > 0)
                run.simulator.faults.mute = set(run.simulator.source.keys)
                await eventually(lambda: ask("alerts"), lambda one: alerts(one) == {"TicklineFeedSilent"})
                run.simulator.faults.mute = set()
                await eventually(lambda: ask("alerts"), lambda one: alerts(one) == set())

    asyncio.run(run())
