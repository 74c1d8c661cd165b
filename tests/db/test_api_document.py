"""The OpenAPI document of the API is true, and its page can be read by a person in a browser without the internet."""

from __future__ import annotations

import asyncio
import html.parser
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from psycopg.types.json import Jsonb

from ingest.database.connections import Database
from ingest.live.http import answers
from ingest.live.http.answers import (
    Answer,
    Bars,
    Health,
    Instruments,
    LatestTicks,
    Live,
    Ready,
    Root,
    Signals,
    Status,
    Subscriptions,
)
from tests.db.test_status import API, asked, bearer, served
from tests.engines import on_one_engine
from tests.fault.live import Running, running, until
from tests.simulated import free_port

LONG = "2020-01-01T00:00:00Z"
MEMBER = {
    "instrument_id": 2, "instrument_key": "NSE_FO|35000", "trading_symbol": None, "bucket": "2026-01-05T04:21:00Z",
    "direction": "up", "confidence": 0.5, "reasons": "volume",
}  # fmt: skip
# Path -> the form of its answer.
FORMS: dict[str, type[Answer]] = {
    "/": Root,
    "/health": Health,
    "/health/live": Live,
    "/health/ready": Ready,
    f"{API}/status": Status,
    f"{API}/subscriptions": Subscriptions,
    f"{API}/latest-ticks": LatestTicks,
    f"/api/v1/bars?key=LISTED&start={LONG}&interval=15m": Bars,
    f"/api/v1/signals?key=listed&start={LONG}": Signals,
    "/api/v1/instruments?search=list&limit=1": Instruments,
}


class Page(html.parser.HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def fill(database: Database, key: str) -> None:
    """Give the database a signal, and a symbol to an instrument that is recorded."""
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "update instruments set trading_symbol = 'LISTED', name = 'Listed Ltd', instrument_type = 'EQ'"
            " where instrument_key = %s",
            [key],
        )
        connection.execute(
            "insert into signals (instrument_id, bucket, rule_set, direction, confidence, score, price, reasons,"
            " severity, members) select instrument_id, now(), 'r', 'up', 0.9, 2, 100, '{\"text\": [\"a\"]}', 'low',"
            " %s from instruments where instrument_key = %s",
            [Jsonb([MEMBER]), key],
        )


async def pages_and_refusals(run: Running, port: int, key: str) -> None:
    # Pages go on where the one before ended; symbols and keys mean the same.
    _, first = await asked(port, "/api/v1/instruments?limit=1")
    _, second = await asked(port, f"/api/v1/instruments?limit=59&after={first['next']}")
    ids = [one["instrument_id"] for one in first["instruments"] + second["instruments"]]
    assert len(set(ids)) == 60 and second["next"] is None and all(one["is_recorded"] for one in second["instruments"])
    for name in ("LISTED", key):
        _, found = await asked(port, f"/api/v1/bars?key={name}&start={LONG}")
        assert {(bar["instrument_key"], bar["symbol"]) for bar in found["bars"]} == {(key, "LISTED")}
    _, page = await asked(port, f"/api/v1/bars?key={key}&start={LONG}&limit=1&skip=5")
    assert page == {"bars": [], "next": None}
    _, latest = await asked(port, f"{API}/latest-ticks?key=Listed")
    assert [tick["instrument_key"] for tick in latest["latest_ticks"].values()] == [key]
    for path, status, text in (
        ("/api/v1/bars", 422, "'key' is not valid: Field required"),
        (f"/api/v1/bars?key={key}&start=yesterday", 422, "time 'yesterday' is not of RFC 3339"),
        ("/api/v1/bars?key=LISTD", 404, "near matches are 'LISTED'"),
        (f"{API}/latest-ticks?key=LISTD", 404, "near matches are 'LISTED'"),
        (f"{API}/latest-ticks?key=%C3%A9", 422, "'key' is not valid"),
        ("/api/v1/signals?limit=0", 422, "'limit' is not valid"),
    ):
        code, answer = await asked(port, path)
        assert (code, set(answer)) == (status, {"error"}) and text in answer["error"], (path, answer)


async def read_by_a_browser(port: int) -> None:
    """What a browser sends decides: a visit is answered, a request of another page is not."""
    visit = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for site, path, changed, status in (
            ("none", "/docs", {}, 200),
            ("cross-site", "/docs", {}, 200),  # a link to it
            ("same-origin", "/openapi.json", {}, 200),
            ("same-origin", f"{API}/status", {}, 200),  # a link on our own page
            ("cross-site", f"{API}/status", {}, 403),
            ("same-site", f"{API}/status", {}, 403),
            ("cross-site", "/docs", {"Sec-Fetch-Dest": "iframe"}, 403),
            ("cross-site", "/openapi.json", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
            ("cross-site", "/docs", {"Origin": "http://evil.example"}, 403),
            ("same-origin", f"{API}/status", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ):
            async with session.get(path, headers=visit | {"Sec-Fetch-Site": site} | changed) as answer:
                assert answer.status == status, (site, path, changed)
        async with session.get("/docs") as answer:
            policy, page = answer.headers["Content-Security-Policy"], Page(await answer.text())
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
        links = [values["href"] or "" for tag, values in page.tags if tag == "a"]
        assert {link[0] for link in links} == {"#", "/"}
        anchors = {values.get("id") for _, values in page.tags}
        assert all(link[1:] in anchors for link in links if link.startswith("#"))
        document = (await asked(port, "/openapi.json"))[1]
        assert all(path in page.text for path in document["paths"]) and "curl" in page.text


def try_document(url: str, token: str, examples: int) -> int:
    """Send requests that the document allows, and judge the answers by it; return their number."""
    import schemathesis

    tried = 0
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/api/v1/stream":  # it has no end
            continue

        @seed(7)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(headers={"Authorization": token})

        check()
    return tried


@on_one_engine
def test_document_says_what_the_api_answers(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await until(lambda: run.confirmed == 60)
            await served(port)
            key = sorted(run.simulator.source.keys)[0]
            fill(database, key)
            for name, example in answers.EXAMPLES.items():
                getattr(answers, name).model_validate(example)
            for path, form in FORMS.items():
                code, answer = await asked(port, path)
                assert code == 200, answer
                form.model_validate(answer, strict=False)
            assert len((await asked(port, f"/api/v1/signals?key={key}"))[1]["signals"]) == 1
            await pages_and_refusals(run, port, key)
            await read_by_a_browser(port)
            token = bearer(home)["Authorization"]
            assert await asyncio.to_thread(try_document, f"http://127.0.0.1:{port}", token, 1) > 10
            await run.live()

    asyncio.run(run())


@pytest.mark.soak
@on_one_engine
def test_thousands_of_requests_find_no_answer_that_the_document_does_not_have(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await run.live()
            await served(port)
            fill(database, sorted(run.simulator.source.keys)[0])
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{port}/openapi.json"),
                *("-H", f"Authorization: {bearer(home)['Authorization']}", "--exclude-path", "/api/v1/stream"),
                *("--checks", "all", "-n", "100", "--no-color"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=home,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()[-4000:]
            await run.live()

    asyncio.run(run())
