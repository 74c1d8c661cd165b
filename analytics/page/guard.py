"""Guard of the page: which requests are answered, and what a browser may do with the answers.

On loopback a request must name this machine in its Host header: a foreign name that resolves to it is another
site's attempt to read the page (DNS rebinding). On another address every request must show the API token. Requests
that another site's page makes are refused everywhere, and so are its WebSockets, which browsers do not keep apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.addresses import is_loopback

COOKIE = "tickline_page"
# NiceGUI's Vue compiles templates in the browser, hence unsafe-eval. Nothing may be asked of another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
OWN_SITES = frozenset({"", "none", "same-origin"})  # of Sec-Fetch-Site; older browsers do not send it


class Guard:
    """ASGI middleware that refuses foreign requests, asks for the token, and adds headers for the browser.

    Parameters
    ----------
    app
        The application.
    host
        Address that the page listens on.
    token
        The API token; needed unless `host` is loopback.
    """

    def __init__(self, app: ASGIApp, *, host: str, token: str | None) -> None:
        self.app = app
        self._token = None if is_loopback(host) else token
        self._is_local = is_loopback(host)
        assert self._is_local or token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self._refusal(headers, is_page=scope["type"] == "http" and scope["path"] == "/"):
            await _refuse(scope, receive, send, *refusal)
            return
        await self.app(scope, receive, self._with_headers(send))

    def _refusal(self, headers: Headers, *, is_page: bool) -> tuple[int, str] | None:
        """Return status and text if a request is refused; `is_page`: it asks for the page itself."""
        host = headers.get("host", "")
        if self._is_local and not is_loopback(_name_of(host)):
            return 400, "the page is asked for under a name that is not this machine's: open it as 127.0.0.1"
        origin = headers.get("origin")
        # Another site may link to the page; whatever else it asks for is not answered.
        is_foreign = headers.get("sec-fetch-site", "") not in OWN_SITES and not is_page
        if is_foreign or (origin is not None and urlsplit(origin).netloc != host):
            return 403, "requests of another site's page are not answered"
        if self._token is not None and not _shows(headers, self._token):
            return (
                401,
                "the page needs a password: any user name, and the token that 'api-token' in TICKLINE_HOME holds",
            )
        return None

    def _with_headers(self, send: Send) -> Send:
        """Return a `send` that adds our headers to an answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if self._token is not None:  # Safari sends no password when it opens a WebSocket
                    headers.append("Set-Cookie", f"{COOKIE}={_cookie(self._token)}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the client gets 403
        return
    asking = {"WWW-Authenticate": 'Basic realm="Tickline", charset="UTF-8"'} if status == 401 else {}
    await PlainTextResponse(text + "\n", status_code=status, headers=HEADERS | asking)(scope, receive, send)


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "" if parts.port is None or parts.port >= 0 else ""  # a wrong port raises
    except ValueError:
        return ""


def _cookie(token: str) -> str:
    """Return a value that proves knowledge of the token without being it."""
    return hmac.new(token.encode(), b"page", hashlib.sha256).hexdigest()


def _shows(headers: Headers, token: str) -> bool:
    """Tell in constant time whether a request has the token: as a password, as a bearer, or by our cookie."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    shown = given.strip()
    if kind.lower() == "basic":
        try:
            shown = base64.b64decode(shown, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            return False
    if kind.lower() in {"basic", "bearer"}:
        return hmac.compare_digest(shown.encode(), token.encode())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and hmac.compare_digest(cookie.value.encode(), _cookie(token).encode())
