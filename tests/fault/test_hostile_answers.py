"""Whatever the vendor answers, a command ends in time and within bounded memory, with one line that says why."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.errors import FeedError
from ingest.settings import settings
from ingest.upstox.rate_limit import Limiter
from ingest.upstox.rest import UpstoxApi
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import QUICK
from tests.fault.hostile import ANSWERS, Hostile
from tests.processes import run_commands
from tests.simulated import free_port

BYTES_MAX = 2**20
PEAK_BYTES_MAX = 100 * 2**20


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with Hostile() as hostile:
        yield hostile.url


def test_every_question_lives_through_every_answer(vendor: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.upstox.rest.TRIES_MAX", 2)
    monkeypatch.setattr("ingest.upstox.rest._limiter", Limiter([(10**6, 1.0)]))  # all of it is asked in a second or two
    questions = {
        "authorize": lambda api: api.authorize(),
        "login": lambda api: api.login("code", "http://x/"),
        "holidays": lambda api: api.market_holidays(),
        "timings": lambda api: api.market_timings(date(2026, 1, 5)),
        "master": lambda api: api.instrument_master("NSE"),
        "quotes": lambda api: api.minute_quotes(["NSE_EQ|X"]),
        "prices": lambda api: api.last_prices(["NSE_EQ|X"]),
        "today": lambda api: api.intraday_candles("NSE_EQ|X"),
        "past": lambda api: api.historical_candles("NSE_EQ|X", date(2026, 1, 5), date(2026, 1, 6)),
    }
    given = {"upstox_access_token": "t", "upstox_api_key": "k", "upstox_api_secret": "s", "home": home}
    given |= {
        "answer_bytes_max": BYTES_MAX,
        "master_bytes_max": BYTES_MAX,
        "http_timeout_s": 0.15,
        "master_timeout_s": 0.15,
    }

    async def asked(name: str) -> dict[str, str]:
        """Return what went otherwise than said."""
        wrong = {}
        urls = {"upstox_api_url": f"{vendor}/{name}", "upstox_assets_url": f"{vendor}/{name}"}
        async with UpstoxApi(settings(**given, **urls, backoff_max_s=0.01)) as api:
            for question, ask in questions.items():
                try:
                    found = await ask(api)
                except FeedError:
                    continue
                except Exception as exc:
                    wrong[f"{name} {question}"] = repr(exc)
                else:
                    if question != "master" and found:
                        wrong[f"{name} {question}"] = f"answered {found!r:.100}"
        return wrong

    async def run() -> None:
        tracemalloc.start()
        try:
            for wrong in await asyncio.gather(*map(asked, ANSWERS)):
                assert wrong == {}
            assert tracemalloc.get_traced_memory()[1] < PEAK_BYTES_MAX
        finally:
            tracemalloc.stop()

    asyncio.run(run())


@on_one_engine
def test_commands_end_with_one_line_whatever_is_answered(database: Database, vendor: str, tmp_path: Path) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into instruments (instrument_key, segment, trading_symbol, instrument_type)"
            " values ('NSE_EQ|X', 'NSE_EQ', 'X', 'EQ')"
        )
        connection.execute(
            "insert into unheard_minutes select instrument_id, '2026-01-05 04:00Z', 'gap' from instruments"
        )
    base = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "TICKLINE_HTTP_TIMEOUT_S": "0.5",
        "TICKLINE_MASTER_TIMEOUT_S": "0.5",
    } | QUICK
    base |= {"TICKLINE_ANSWER_BYTES_MAX": str(BYTES_MAX), "TICKLINE_MASTER_BYTES_MAX": str(BYTES_MAX)}
    base |= {"UPSTOX_ACCESS_TOKEN": "t", "UPSTOX_API_KEY": "k", "UPSTOX_API_SECRET": "s"}
    base |= {"TICKLINE_DATABASE_URL": database.url, "HOME": str(tmp_path), "TICKLINE_HOME": str(tmp_path)}
    asked, ports = [], {}
    for number, name in enumerate(ANSWERS):
        # Each answer to the master, which has a reader of its own, and to one of those who share theirs.
        for line in ("universe refresh", "backfill" if number % 2 else "login"):
            port = free_port()
            out = tmp_path / f"{name}-{line.split()[0]}"
            arguments = ["--debug", *line.split()]
            env = {"UPSTOX_API_URL": f"{vendor}/{name}", "UPSTOX_ASSETS_URL": f"{vendor}/{name}"}
            env |= {"UPSTOX_REDIRECT_URI": f"http://127.0.0.1:{port}/back"}
            asked.append({"arguments": arguments, "environment": base | env, "cwd": tmp_path, "out": out})
            if line == "login":
                ports[out] = port
    threading.Thread(target=browse, args=(ports,), daemon=True).start()
    wrong = []
    for case, code in zip(asked, run_commands(asked), strict=True):
        said = case["out"].read_text()
        if code != 1 or "internal error" in said or not re.search(r"(?m)^tickline: .", said):
            wrong.append(f"{case['out']}: exit code {code}\n{said[-1000:]}")
    assert not wrong, "\n".join(wrong)
    assert not (tmp_path / ".env").exists()


def browse(ports: dict[Path, int]) -> None:
    """Answer the dialog of each login that waits for it."""
    while ports:
        for out, port in list(ports.items()):
            said = out.read_text() if out.exists() else ""
            if state := re.search(r"state=([\w-]+)", said):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/back?code=7&state={state[1]}", timeout=5).close()
                except OSError:
                    continue  # it does not listen yet
                del ports[out]
        time.sleep(0.02)
