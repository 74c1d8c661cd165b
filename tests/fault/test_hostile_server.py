"""A vendor that answers anything: `start` lives, records, and ends when it is told to.

Each table says what is sent; what must happen is the same for all: the process goes on, the odd thing costs itself.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import ClientSession, web

from ingest.database.connections import Database
from tests.data import data_file
from tests.engines import on_one_engine
from tests.fault.harness import Ingester, Market, committed, wait_until
from tests.fault.hostile import ANSWERS, Hostile, ThreadedServer

RSS_BYTES_MAX = 300 * 2**20
DEEP = b"[" * 200_000

AUTHORIZE: dict[str, Any] = {
    "null": {"status": "success", "data": None},
    "list": [],
    "no_uri": {"data": {}},
    "uri_number": {"data": {"authorized_redirect_uri": 7}},
    "port": {"data": {"authorized_redirect_uri": "wss://127.0.0.1:99999999/feed"}},
    "bracket": {"data": {"authorized_redirect_uri": "ws://[::1/"}},
    "labels": {"data": {"authorized_redirect_uri": "wss://a..b/feed?code=secret-code"}},
    "not_encrypted": {"data": {"authorized_redirect_uri": "ws://192.0.2.2/feed?code=secret-code"}},
    "nobody": {"data": {"authorized_redirect_uri": "ws://127.0.0.1:9/feed?code=secret-code"}},
    "deep": DEEP,
    "bytes": b"\xff\xfe\x00",
    "empty": b"",
    "html": b"<html>",
    "huge": b'"' + b"a" * 40_000_000 + b'"',
}
HOLIDAYS: list[Any] = [
    {"data": [{"date": "soon"}, None, 7, {"date": "2026-01-26"}]},
    {"data": None},
    DEEP,
    b"",
    {"data": "text"},
]
TIMINGS: list[Any] = [
    {"data": [{"exchange": "NFO", "start_time": 1e30, "end_time": -1e30}]},
    {"data": [{"exchange": None, "start_time": "x"}]},
    {"data": {}},
    b"\x00",
]
ODD_ROWS: list[Any] = [
    {"instrument_key": "NSE_FO|1", "expiry": "2026-12-29"},
    {"instrument_key": "NSE_FO|2", "lot_size": 10**10},
    {"instrument_key": "NSE_FO|3", "name": "A\0"},
    {"instrument_key": "N" * 9_000},
    {"segment": "NSE_FO"},
    None,
    7,
]


class Vendor(ThreadedServer):
    """A server on loopback between the ingester and a simulator: it alters what it hands over.

    The feed itself is the simulator's. Each authorise answer of the tables is given once, and the address of a feed
    that answers the handshake like that; then the true ones.
    """

    def __init__(self, market: Market, master: bytes, hostile: Hostile) -> None:
        super().__init__()
        self.asked: dict[str, int] = {}
        self._upstream = market.settings["UPSTOX_API_URL"]
        self._master = master
        places = [hostile.url.replace("http", "ws") + f"/{name}?code=secret-code" for name in ANSWERS]
        feeds = [{"data": {"authorized_redirect_uri": place}} for place in places]
        self._authorize = [*AUTHORIZE.values(), *ANSWERS.values(), *feeds]

    @property
    def spent(self) -> bool:
        """Whether all odd authorise answers were given."""
        return not self._authorize

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kinds = {"authorize": self._authorize, "holidays": HOLIDAYS, "timings": TIMINGS}
        kind = next((kind for kind in kinds if kind in request.path), "other")
        self.asked[kind] = asked = self.asked.get(kind, 0) + 1
        if "instruments" in request.path:
            return web.Response(body=self._master)
        if kind == "authorize" and self._authorize:
            answer = self._authorize.pop(0)
            return await answer(request) if callable(answer) else respond(answer)
        if kind in {"holidays", "timings"}:
            answers = kinds[kind]
            return respond(answers[(asked - 1) % len(answers)])
        headers = {"Authorization": request.headers.get("Authorization", "")}
        async with ClientSession() as session, session.get(self._upstream + request.path_qs, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


def respond(answer: Any) -> web.Response:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return web.Response(body=body, content_type="application/json")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had; what it has now, where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else psutil.Process(pid).memory_info().rss


@pytest.fixture
def market(home: Path) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "30", "--rate", "300") as market:
        yield market


@pytest.fixture
def master(market: Market) -> bytes:
    """The vendor's real list, the simulator's instruments, and rows that are none."""
    real = json.loads(gzip.decompress(data_file("instruments-NSE-20251223.json.gz").read_bytes()))
    listed = {row["instrument_key"] for row in real}
    made_up = [{"instrument_key": key} for key in market.keys if key not in listed]
    return gzip.compress(json.dumps([*ODD_ROWS, *real, *made_up]).encode(), 1)


@on_one_engine
def test_start_lives_through_whatever_a_vendor_answers(
    database: Database, home: Path, market: Market, master: bytes
) -> None:
    with Hostile() as hostile, Vendor(market, master, hostile) as vendor:
        environment = {"UPSTOX_API_URL": vendor.url, "UPSTOX_ASSETS_URL": vendor.url, "TICKLINE_HTTP_TIMEOUT_S": "2"}
        environment |= {"TICKLINE_BACKOFF_MAX_S": "0.05"}
        with Ingester(home, market, database.url, **environment) as ingester:
            wait_until(lambda: vendor.spent and committed(database)[1] > 2**16)
            assert peak_bytes(ingester.process.pid) < RSS_BYTES_MAX
            assert vendor.asked["timings"] and vendor.asked["holidays"]
            ingester.stop()
            said = ingester.text()
    assert "secret-code" not in said and "Traceback" not in said
    assert f"{len(ODD_ROWS)} odd rows left out" in said
