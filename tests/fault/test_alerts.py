"""Alerts to people: a real HTTP server, and conditions that the simulator causes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ingest.database.connections import Database
from ingest.errors import ConfigError
from ingest.live.observe.alerts import AFTER_S, CLEAR_S, Alerts, Message, filled
from ingest.live.observe.conditions import CONDITIONS, Condition
from ingest.live.observe.health import health
from ingest.settings import settings
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.live import Forward, running, until

SECRET = "bot4711:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SILENT = Condition("feed_silent", "problem", "connection 1 is silent", "1")
AWAY = Condition("database_away", "problem", "database away")


class Service:
    """A chat service: what it was sent, and how it answers."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int] = []  # taken one by one; then 200. 0: no answer at all

    @property
    def texts(self) -> list[str]:
        return [str(one["text"]) for one in self.posted]

    async def take(self, request: web.Request) -> web.Response:
        assert request.path == f"/{SECRET}/sendMessage" and request.content_type == "application/json"
        status = self.answers.pop(0) if self.answers else 200
        if not status:
            await asyncio.sleep(60)
        if status == 200:
            self.posted.append(await request.json())
        return web.Response(status=status, headers={"Retry-After": "0"})


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Service, str]]:
    service, app = Service(), web.Application()
    app.router.add_post("/{path:.*}", service.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield service, f"http://127.0.0.1:{port}/{SECRET}/sendMessage"
    finally:
        await runner.cleanup()


@on_one_engine
def test_alert_comes_once_then_its_end_and_a_service_that_fails_costs_nothing(
    database: Database, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("alerts.CLEAR_S", 0.5), ("alert_sender.FIRST_S", 0.05), ("alert_sender.POST_S", 2.0)):
        monkeypatch.setattr(f"ingest.live.observe.{name}", value)
    monkeypatch.setattr("ingest.live.observe.alert_sender.LOOK_S", 0.05)
    monkeypatch.setattr("ingest.live.observe.alert_sender.SIGNALS_S", 0.05)

    clock = Forward()  # a busy machine is silent for a moment, too, but not for seconds

    async def run() -> None:
        async with serving() as (service, url):
            given: dict[str, Any] = {
                "alert_url": url,
                "alert_template": '{"chat_id": "7", "text": "{text}"}',
                "alert_signals": True,
                "feed_silent_s": 6.0,
                "time_source": clock,
            }
            async with running(database, home, **given) as run:
                await run.live()
                feed = run.ingestion.streams[0].feed
                await until(lambda: run.ingestion.watchdog.rate(feed) > 0)
                service.answers = [503, 429, 302, 200]  # a redirect is refused: that message is given up
                await run.fall_silent(clock, 7.0)
                await until(lambda: "alert refused status=302" in caplog.text)
                assert any("alerts failed: the service answers 302" in one for one in health(run.ingestion)["warnings"])
                run.simulator.faults.mute = set()
                await until(lambda: len(service.posted) == 1)
                said = r"Tickline default, over: connection 1 is silent \(lasted \d+ s\)"
                assert re.fullmatch(said, service.texts[0]) and service.posted[0]["chat_id"] == "7"
                await until(lambda: not run.ingestion.watchdog.is_silent(feed))
                service.answers = [0, 200]  # it hangs; recording goes on
                await run.fall_silent(clock, 7.0)
                await until(lambda: service.answers[:1] != [0])
                run.simulator.faults.mute = set()
                await run.live()
                await until(lambda: len(service.posted) == 3)
                assert service.texts[1] == "Tickline default, problem: connection 1 is silent"
                await until(lambda: health(run.ingestion)["status"] == "healthy")
                at = run.ingestion.watchdog.market_time()
                assert at is not None
                with database.connect(autocommit=True) as connection:
                    connection.execute(
                        "insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price,"
                        " reasons, severity, members) select min(instrument_id), %s, 'test', 'up', 0.9, 2.2, 100.5,"
                        " '{\"text\": \"big\"}', 'high', '[{}, {}]' from instruments",
                        [at.replace(second=0, microsecond=0)],
                    )
                await until(lambda: len(service.posted) == 4)
                said = r": NSE_\S+ up at .* IST, 100.5, confidence 0.90, severity high, with 2 of its underlying: big$"
                assert re.search(said, service.texts[3])
                counts = run.ingestion.alert_counts
                assert counts is not None
                await until(lambda: counts["sent"] == 4)  # counted when the answer is here, after the service has it
                assert (counts["failed"], counts["dropped"]) == (1, 0)

    asyncio.run(run())
    assert "alert not sent, trying again" in caplog.text
    assert SECRET not in caplog.text and "AAHdq" not in caplog.text


def test_alert_waits_for_what_passes_is_sent_once_and_is_over_when_it_stays_away() -> None:
    alerts = Alerts()
    assert alerts.step([AWAY], 0.0) == [] == alerts.step([AWAY], 54.0)
    assert [one.state for one in alerts.step([AWAY, SILENT], 56.0)] == ["begins", "begins"]
    assert alerts.step([AWAY, SILENT], 57.0) == [] == alerts.step([], 58.0)  # for a moment only
    assert alerts.step([SILENT], 59.0) == []
    assert alerts.step([SILENT], 57.0 + CLEAR_S) == [
        Message("database_away", "over", "problem", "database away (lasted 57 s)")
    ]
    assert alerts.step([AWAY], 200.0)[0].id == "feed_silent"
    assert alerts.step([], 201.0) == []  # a short absence is never mentioned, nor its end
    assert alerts.step([], 300.0) == []
    assert set(AFTER_S) < set(CONDITIONS)


def test_alert_of_two_connections_is_one_message_and_warnings_of_keys_left_out_are_none() -> None:
    other = Condition("feed_silent", "warning", "connection 2 is silent", "2")
    left_out = Condition("keys_left_out", "warning", "2 keys")
    (message,) = Alerts().step([SILENT, other, left_out], 0.0)
    assert message == Message("feed_silent", "begins", "problem", "connection 1 is silent; connection 2 is silent")


def test_templates_of_the_documents_fit_their_services() -> None:
    text = (REPOSITORY / "ingest" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, ]+) \| `https://\S+` \| `(\{.*\})` \|$", text, re.MULTILINE)
    message = Message("feed_silent", "begins", "problem", 'a "quoted" {text}\nand a line')
    said = f"Tickline default, problem: {message.text}"
    assert {name: filled(template, message, "default") for name, template in rows} == {
        "Slack, Mattermost": {"text": said},
        "Telegram": {"chat_id": "<chat>", "text": said},
        "ntfy": {"topic": "<topic>", "title": "Tickline default, problem", "message": said},
    }
    nested = '{"blocks": [{"n": 1, "text": "{severity} {id} {other} {", "b": true}], "text": "{text}"}'
    assert filled(nested, message, "x")["blocks"] == [{"n": 1, "text": "problem feed_silent {other} {", "b": True}]
    for _, template in rows:
        json.loads(settings(alert_template=template).alert_template)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_url", f"ftp://host/{SECRET}"),
        ("alert_url", SECRET),
        ("alert_template", "{text}"),
        ("alert_template", "{}"),
    ],
)
def test_alert_settings_that_cannot_work_are_refused_without_the_secret(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as said:
        settings(**{name: value})
    assert f"TICKLINE_{name.upper()}" in str(said.value) and "AAHdq" not in str(said.value)
