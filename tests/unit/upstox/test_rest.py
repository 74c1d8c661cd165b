"""The vendor's REST answers as a network brings them: in pieces, endless, odd."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ingest.addresses import feed_uri
from ingest.errors import ConfigError, FeedError
from ingest.settings import settings
from ingest.upstox.rate_limit import Limiter
from ingest.upstox.rest import TRIES_MAX, UpstoxApi

PIECE_BYTES = 16_384
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def in_pieces(body: bytes, every_s: float = 0.002) -> Answer:
    """Answer with a body in pieces, each one packet of its own."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(body), PIECE_BYTES):
            await response.write(body[start : start + PIECE_BYTES])
            await asyncio.sleep(every_s)
        return response

    return answer


async def ask(home: Path, answer: Answer, question: Callable[[UpstoxApi], Awaitable[Any]], **given: Any) -> Any:
    """Ask a server on loopback that gives one answer to everything."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        values = {"home": home, "upstox_api_url": url, "upstox_assets_url": url, "upstox_access_token": "t"}
        values |= {"upstox_api_key": "k", "upstox_api_secret": "s", "backoff_max_s": 0.01}
        async with UpstoxApi(settings(**values | given)) as api:
            return await question(api)
    finally:
        await runner.cleanup()


def test_master_that_comes_in_pieces_is_whole(home: Path) -> None:
    body = gzip.compress(os.urandom(300_000))
    assert asyncio.run(ask(home, in_pieces(body), lambda api: api.instrument_master("NSE"))) == body


def test_master_on_a_slow_line_has_time_as_long_as_it_comes(home: Path) -> None:
    body = os.urandom(PIECE_BYTES * 20)  # 2 s in all

    def fetch(every_s: float, **given: float) -> bytes:
        answer = in_pieces(body, every_s)
        return asyncio.run(ask(home, answer, lambda api: api.instrument_master("NSE"), **given))

    assert fetch(0.1, http_timeout_s=1.5) == body
    for given in ({"http_timeout_s": 0.05}, {"master_timeout_s": 0.3}):
        with pytest.raises(FeedError, match="timed out"):
            fetch(0.1, **given)


@pytest.mark.parametrize(
    ("question", "setting"),
    [
        (lambda api: api.instrument_master("NSE"), "TICKLINE_MASTER_BYTES_MAX"),
        (lambda api: api.market_holidays(), "TICKLINE_ANSWER_BYTES_MAX"),
        (lambda api: api.authorize(), "TICKLINE_ANSWER_BYTES_MAX"),
    ],
    ids=["master", "holidays", "authorize"],
)
def test_body_beyond_its_limit_is_refused(home: Path, question: Any, setting: str) -> None:
    answer = in_pieces(json.dumps(["a" * 10**6]).encode())
    with pytest.raises(FeedError, match=f"larger than 100000 bytes: see {setting}"):
        asyncio.run(ask(home, answer, question, answer_bytes_max=100_000, master_bytes_max=100_000))


PATIENT = {
    "holidays": lambda api: api.market_holidays(),
    "timings": lambda api: api.market_timings(date(2026, 1, 5)),
    "master": lambda api: api.instrument_master("NSE"),
    "login": lambda api: api.login("code", "http://x/"),
    "prices": lambda api: api.last_prices(["NSE_EQ|X"]),
}
BODY = {"data": [], "access_token": "t"}


class Busy:
    """A vendor that is too busy for the first requests, or hangs up on them."""

    def __init__(self, times: int, status: int | None, body: dict[str, Any]) -> None:
        self.asked, self._times, self._status, self._body = 0, times, status, body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.asked > self._times:
            return web.json_response(self._body)
        if self._status is None:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=self._status or 500)


@pytest.mark.parametrize("question", PATIENT)
@pytest.mark.parametrize("status", [429, 503, None])
def test_vendor_that_is_busy_is_asked_again_at_the_pace_that_it_allows(
    home: Path, question: str, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[float] = []
    monkeypatch.setattr(Limiter, "reserve", lambda _, now_s: reserved.append(now_s) or 0.0)
    vendor = Busy(2, status, {"data": {}} if question == "prices" else BODY)
    asyncio.run(ask(home, vendor.answer, PATIENT[question]))
    assert vendor.asked == 3
    if status is not None:  # aiohttp itself sends once more what a connection that breaks has not answered
        assert len(reserved) == 3
    reserved.clear()
    with pytest.raises(FeedError):
        asyncio.run(ask(home, Busy(100, status, BODY).answer, PATIENT[question]))
    assert len(reserved) == TRIES_MAX


@pytest.mark.parametrize("question", ["holidays", "timings", "login", "master"])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_vendor_that_refuses_is_not_asked_again(home: Path, question: str, status: int) -> None:
    vendor = Busy(100, status, {})
    with pytest.raises(FeedError, match=str(status)):
        asyncio.run(ask(home, vendor.answer, PATIENT[question]))
    assert vendor.asked == 1


def test_vendor_that_says_nothing_costs_a_start_its_patience_once(home: Path) -> None:
    asked = []

    async def silent(_: web.Request) -> web.StreamResponse:
        asked.append(1)
        await asyncio.sleep(5)
        return web.Response()

    with pytest.raises(FeedError, match="timed out"):
        asyncio.run(ask(home, silent, PATIENT["holidays"], http_timeout_s=0.1))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "data",
    [None, [], "text", {}, 7]
    + [
        {"authorized_redirect_uri": uri}
        for uri in ("wss://h:99999999/x", "ws://[::1/", "wss://a..b/", "ws://192.0.2.2/code", "", None, "wss://h/ä")
    ],
    ids=repr,
)
def test_authorize_odd_answer_is_a_feed_error_without_its_text(home: Path, data: Any) -> None:
    answer = in_pieces(json.dumps({"status": "success", "data": data}).encode())
    with pytest.raises(FeedError, match="is not understood") as error:
        asyncio.run(ask(home, answer, lambda api: api.authorize()))
    assert "code" not in str(error.value)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 100_000, b"<html>"], ids=["empty", "bytes", "deep", "html"])
@pytest.mark.parametrize("status", [200, 500])
def test_answer_that_is_no_json_is_a_feed_error(home: Path, body: bytes, status: int) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    with pytest.raises(FeedError):
        asyncio.run(ask(home, answer, lambda api: api.authorize()))
    with pytest.raises(FeedError):
        asyncio.run(ask(home, answer, lambda api: api.market_holidays()))


@pytest.mark.parametrize(
    "uri", ["wss://feed.example/x?code=1", "ws://127.0.0.1:8787/x", "ws://[::1]:1/", "ws://localhost/"]
)
def test_feed_uri_that_is_encrypted_or_here_is_taken(uri: str) -> None:
    assert feed_uri(uri) == uri


@pytest.mark.parametrize("name", ["upstox_api_url", "upstox_assets_url"])
def test_vendor_address_without_tls_is_refused_unless_it_is_this_machine(name: str) -> None:
    with pytest.raises(ConfigError, match="use https://"):
        settings(**{name: "http://192.0.2.2"})
    for url in ("https://192.0.2.2", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"):
        assert settings(**{name: url})
