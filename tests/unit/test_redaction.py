"""No secret value is printed: by an error's text, a traceback, a log line, or what another library prints."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ingest import redaction
from ingest.addresses import redirected
from ingest.database.connections import connect
from ingest.errors import ConfigError, FeedError, StoreError
from ingest.feed.connection import FeedConnection
from ingest.feed.lifecycle import Event
from ingest.redaction import FencedStream, hide, redact
from ingest.settings import settings
from ingest.upstox.rest import UpstoxApi
from tests.data import REPOSITORY
from tests.simulated import NOWHERE


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """What other tests gave as secrets is not known here."""
    known, form = dict(redaction._known), redaction._known_form
    redaction._known.clear()
    hide()
    yield
    redaction._known.update(known)
    redaction._known_form = form


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@db/x",
        "postgres://u:hun/hunter2@db/x",
        "postgresql://u:p@hunter2@db:5432/x is away",
        "postgresql://u@[::1]/x?password=hunter2&sslmode=require",
        "host=db password=hunter2 user=u",
        r"host=db password = 'a \' hunter2' user=u",
        "host=db sslpassword='hunter2'",
        "https://me:hunter2@api.example/v2",
        "wss://feed.example/feeds?requestId=hunter2&x=1",
        "GET /feeds?x=1&code=hunter2 HTTP/1.1",
        "Authorization: Bearer hunter2",
        "{'Authorization': 'Bearer hunter2', 'Accept': '*/*'}",
        "Authorization: Basic aHVudGVyMg==hunter2",
        'body {"access_token":"hunter2","x":1}',
        "{'client_secret': 'hunter2'}",
        "UPSTOX_ACCESS_TOKEN=hunter2",
        "code=1&client_secret=hunter2&grant_type=x",
        "token eyJ0eXAiOiJKV1QifQ.hunter2.sig refused",
    ],
)
def test_redact_hides_a_secret_by_its_form(text: str) -> None:
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "setting TICKLINE_TOKEN_POLL_S=5 is fine: set UPSTOX_ACCESS_TOKEN",
        "no access token: run `tickline login`, or set UPSTOX_ACCESS_TOKEN in the environment or in .env",
        "feed closed the connection (code=1006 no close frame)",
        "database at 'db:5432' cannot be reached: start it, or correct TICKLINE_DATABASE_URL",
        "status is served url=http://127.0.0.1:8788",
    ],
)
def test_redact_leaves_what_is_no_secret(text: str) -> None:
    assert redact(text) == text


def test_redact_knows_values_in_each_spelling_and_no_short_ones() -> None:
    hide("p@ss'wörd\\1", "abc")
    text = redact("p@ss'wörd\\1 p%40ss%27w%C3%B6rd%5C1 " + repr("p@ss'wörd\\1") + " abc")
    assert text == '*** *** "***" abc'
    hide(*(f"value-{number}" for number in range(redaction.KNOWN_MAX)))
    assert len(redaction._known) == redaction.KNOWN_MAX


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2-of-nobody@db/x",
        "postgresql://u:hunter2%2Dof-nobody@db/x",
        "postgresql://db/x?user=u&password=hunter2-of-nobody",
        "host=db user=u password=hunter2-of-nobody",
        "host=db user=u password='hunter2-of-nobody'",
    ],
)
def test_password_of_a_database_url_is_known_by_itself(url: str) -> None:
    settings(database_url=url)
    assert redact("refused hunter2-of-nobody") == "refused ***"


def test_password_that_is_a_name_too_hides_no_word() -> None:
    settings(database_url="postgresql://tickline:tickline@db/tickline")
    assert redact("tickline: refused") == "tickline: refused"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@hunter2@127.0.0.1/x",
        "postgresql://u:hunter2/p@127.0.0.1/x",
        "postgresql://u:12/hunter2@127.0.0.1/x",
        "postgresql://u:hunter2%zz@127.0.0.1/x",
        "postgresql://u:hunter2 p@127.0.0.1/x",
        "host=127.0.0.1 password=p hunter2",
        "postgres//u:hunter2@127.0.0.1/x",
    ],
)
def test_database_url_whose_password_is_misread_is_refused_without_it(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a libpq URL") as caught:
        connect(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["postgresql://a,b/x", "postgresql://a:1,b:2/x", "postgresql://u:p%40w@127.0.0.1:9/a%40b"]
)
def test_database_url_that_is_right_is_not_taken_for_misread(url: str) -> None:
    with pytest.raises(StoreError):
        connect(url)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_everything_printed_passes_the_fence(encoding: str) -> None:
    """A traceback of the main thread, of another, of a logger, of a warning and of what nobody awaits: real ones."""
    program = """
import asyncio, gc, logging, sys, threading, warnings, click
from rich.console import Console
import ingest.cli as cli
@click.command()
def bad():
    logging.getLogger("x").warning("logged postgresql://u:hunter2@db/x")
    logging.getLogger("x").warning("%d", "password=hunter2")  # an error inside of logging
    warnings.warn("warned hunter2-of-nobody")
    print("printed hunter2-of-nobody", file=sys.stderr)
    click.echo("echoed … hunter2-of-nobody", err=True)
    print("said hunter2-of-nobody")
    click.echo("told … hunter2-of-nobody")
    Console().print("shown … hunter2-of-nobody")
    class Bad:
        def __del__(self): raise ValueError("unraisable hunter2-of-nobody")
    Bad()
    async def lost():
        async def failing(): raise ValueError("never awaited hunter2-of-nobody")
        asyncio.create_task(failing())
        await asyncio.sleep(0.01)
    asyncio.run(lost())
    gc.collect()
    def fail(): raise ValueError("thread hunter2-of-nobody")
    thread = threading.Thread(target=fail); thread.start(); thread.join()
    raise UnicodeDecodeError("utf-8", b"UPSTOX_ACCESS_TOKEN=hunter2-of-nobody", 0, 1, "hunter2-of-nobody")
cli.group.add_command(bad)
cli.COMMANDS["bad"] = "__main__:bad"
from ingest.redaction import hide
hide("hunter2-of-nobody")
sys.argv = ["tickline", "--debug", "bad"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
    )
    words = ["logged", "warned", "printed", "echoed", "thread", "unraisable", "never awaited", "Traceback"]
    for word in [*words, "internal error: UnicodeDecodeError"]:
        assert word in done.stderr
    for word in ("said ***", "told", "shown"):
        assert word in done.stdout
    assert "hunter2" not in done.stderr + done.stdout and done.returncode == 1


def test_fence_is_the_stream_in_all_else() -> None:
    fence = FencedStream(sys.__stderr__)
    assert fence.fileno() == 2 and fence.encoding == sys.__stderr__.encoding


class _Vendor:
    """A vendor that answers as it is told, and notes what it was sent; a second one stands for another host."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.answer: Any = None

    async def __aenter__(self) -> _Vendor:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.sent.append(f"{request.method} {request.path_qs} {dict(request.headers)} {await request.text()}")
        return self.answer() if self.answer else web.json_response({})


SECRETS = {"upstox_access_token": "token-of-nobody", "upstox_api_key": "key-nobody", "upstox_api_secret": "hush-nobody"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_of_a_request_with_a_secret_is_not_followed(status: int) -> None:
    async def run() -> list[str]:
        async with _Vendor() as vendor, _Vendor() as other:
            vendor.answer = lambda: web.Response(status=status, headers={"Location": other.url + "/taken"})
            async with UpstoxApi(settings(upstox_api_url=vendor.url, **SECRETS)) as api:
                for ask in (api.login("c", "http://x/"), api.authorize(), api.last_prices(["NSE_EQ|X"])):
                    with pytest.raises(FeedError, match=f"redirect .{status}.*UPSTOX_API_URL"):
                        await ask
            return other.sent

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/again", "more than 3 redirects"),
        ("http://192.0.2.2/x", "without encryption"),
        ("//192.0.2.2/x", "without encryption"),
        ("file:///etc/passwd", "no HTTP address"),
        ("http://[::1/", "is not followed"),
        ("http://127.0.0.1:99999999/", "is not followed"),
        ("", "names no address"),
        ("/" + "x" * 5000, "names no address"),
    ],
)
def test_redirect_without_a_secret_is_followed_a_few_times_and_to_safe_places_only(location: str, said: str) -> None:
    async def run() -> int:
        async with _Vendor() as vendor:
            vendor.answer = lambda: web.Response(status=302, headers={"Location": location})
            async with UpstoxApi(settings(upstox_api_url=vendor.url, upstox_assets_url=vendor.url)) as api:
                for ask in (api.market_holidays(), api.instrument_master("NSE")):
                    with pytest.raises(FeedError, match=said):
                        await ask
            return len(vendor.sent)

    assert asyncio.run(run()) == (8 if location == "/again" else 2)


def test_redirect_out_of_tls_is_refused_to_this_machine_too() -> None:
    with pytest.raises(ValueError, match="without encryption"):
        redirected("https://assets.example/x", "http://127.0.0.1/x")
    assert redirected("http://127.0.0.1:1/x", "https://cdn.example/y") == "https://cdn.example/y"


def test_redirect_without_a_secret_is_followed_to_what_it_names() -> None:
    async def run() -> bytes:
        async with _Vendor() as vendor, _Vendor() as other:
            vendor.answer = lambda: web.Response(status=301, headers={"Location": other.url + "/list"})
            other.answer = lambda: web.Response(body=b"rows")
            async with UpstoxApi(settings(upstox_api_url=vendor.url, upstox_assets_url=vendor.url)) as api:
                return bytes(await api.instrument_master("NSE"))

    assert asyncio.run(run()) == b"rows"


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9/feeds?requestId=r-of-nobody&code=c-of-nobody",
        "ws://127.0.0.1:9/feeds?requestId=r-of-nobody&code=c-of-nobody#fragment",
        "ws://[::1/feeds?code=c-of-nobody",
        "ws://127.0.0.1:9/feeds?code=c-of-nobody",
    ],
)
def test_feed_uri_that_cannot_be_used_is_said_without_its_code(uri: str, tmp_path: Path) -> None:
    async def run() -> str:
        async with UpstoxApi(config) as api:
            feed = FeedConnection(api, config, None, {"NSE_EQ|X": "full"})  # type: ignore[arg-type]  nothing is received
            feed._uri = uri
            assert await feed._connect() is Event.LOST
            return feed.error.text

    config = settings(upstox_api_url=NOWHERE, home=tmp_path, **SECRETS)
    assert "-of-nobody" not in asyncio.run(run())


def test_answers_that_are_not_understood_are_said_without_what_they_hold() -> None:
    """A body that is not UTF-8 is held by the error that says so."""

    async def run() -> list[str]:
        told = []
        async with _Vendor() as vendor:
            body = b'{"data": {"authorized_redirect_uri": "wss://x/?code=c-of-nobody\xe9"},'
            body += b' "access_token": "t-of-nobody\xe9"}'
            vendor.answer = lambda: web.Response(body=body, content_type="application/json")
            async with UpstoxApi(settings(upstox_api_url=vendor.url, **SECRETS)) as api:
                for ask in (api.authorize(), api.login("c", "http://x/")):
                    with pytest.raises(FeedError) as caught:
                        await ask
                    told.append("".join(traceback.format_exception(caught.value)))
        return told

    assert all("not understood" in text and "-of-nobody" not in text for text in asyncio.run(run()))
