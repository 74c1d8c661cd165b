"""Which requests of browsers the page answers."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from analytics.page.guard import COOKIE, Guard

TOKEN = "a-token-of-the-api"


async def asked(kind: str, host: str, path: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """What the guard of a page that listens on `host` sends for a request."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": kind,
        "method": "GET",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await Guard(app, host=host, token=TOKEN)(scope, receive, send)
    return sent


def status(listens: str, path: str = "/", kind: str = "http", /, **headers: str) -> int:
    """The status of an answer; a WebSocket that is closed before it opens is 403."""
    sent = asyncio.run(asked(kind, listens, path, {name.replace("_", "-"): value for name, value in headers.items()}))
    return 403 if sent[0]["type"] == "websocket.close" else sent[0]["status"]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1:8790", "localhost:8790", "[::1]:8790", "127.0.0.2"])
def test_loopback_is_answered_under_its_own_names(host: str) -> None:
    assert status("127.0.0.1", host=host) == 200


@pytest.mark.parametrize(
    "host", ["rebound.example:8790", "127.0.0.1.example", "", "192.0.2.1:8790", "[", "127.0.0.1:x:y"]
)
def test_loopback_refuses_foreign_names(host: str) -> None:
    assert status("127.0.0.1", host=host) == 400


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://other.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_requests_of_another_sites_page_are_refused(kind: str, headers: dict[str, str]) -> None:
    assert status("127.0.0.1", "/_nicegui_ws/socket.io/", kind, host="127.0.0.1:8790", **headers) == 403


def test_another_site_may_link_to_the_page() -> None:
    assert status("127.0.0.1", host="127.0.0.1:8790", sec_fetch_site="cross-site") == 200


def test_own_socket_is_answered() -> None:
    own = {"host": "127.0.0.1:8790", "origin": "http://127.0.0.1:8790", "sec_fetch_site": "same-origin"}
    assert status("127.0.0.1", "/_nicegui_ws/socket.io/", "websocket", **own) == 200


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("", 401),
        ("Basic", 401),
        ("Basic not-base64", 401),
        (basic("wrong"), 401),
        (basic(TOKEN), 200),
        (f"Bearer {TOKEN}", 200),
        ("Bearer wrong", 401),
    ],
)
def test_other_address_needs_the_token(authorization: str, expected: int) -> None:
    assert status("0.0.0.0", host="desk.example:8790", authorization=authorization) == expected


def test_cookie_of_an_answer_opens_the_socket_without_being_the_token() -> None:
    sent = asyncio.run(asked("http", "0.0.0.0", "/", {"host": "desk:1", "authorization": basic(TOKEN)}))
    (cookie,) = [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    pair = cookie.partition(";")[0]
    assert pair.startswith(f"{COOKIE}=")
    assert status("0.0.0.0", "/x", "websocket", host="desk:1", origin="http://desk:1", cookie=pair) == 200
    assert status("0.0.0.0", "/x", "websocket", host="desk:1", origin="http://desk:1", cookie=pair + "0") == 403


def test_answers_forbid_frames_and_foreign_connections() -> None:
    sent = asyncio.run(asked("http", "127.0.0.1", "/", {"host": "127.0.0.1:8790"}))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_page_beyond_loopback_is_not_made_without_a_token() -> None:
    with pytest.raises(AssertionError):
        Guard(lambda *_: None, host="0.0.0.0", token=None)  # type: ignore[arg-type, return-value]
