"""Guard of the HTTP API: check every request before the routes see it, and give all refusals one form.

Every refusal is `{"error": text}`. The guard reads the whole body up to a limit, so that a request cannot make the
application hold more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ingest.addresses import is_loopback
from ingest.live.access import Tokens, calls_loopback, is_a_visit, is_of_a_page
from ingest.live.http.routes import Receive, Request, Response, Routes, Scope, Send, refused
from ingest.model.keys import shown

BODY_BYTES_MAX = 2**20  # the 25,000 keys of a Plus account with five connections are 700 KB
DRAINED_BYTES_MAX = 16 * 2**20  # of a too large body are read and dropped: a client reads no answer while it sends
BODY_S = 5.0  # time limit for receiving a body


class Guard:
    """ASGI application that checks host, origin, token and size of each request, and lets routes answer it."""

    def __init__(self, routes: Routes, *, host: str, tokens: Tokens) -> None:
        self._routes, self._tokens = routes, tokens
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        # The first of several of a name counts.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        method, path = scope["method"], scope["path"]
        answer = self._refusal(method, path, headers) or await self._answer(scope, headers, receive)
        await answer(scope, receive, send)

    def _refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Response | None:
        if self._local and not calls_loopback(headers):
            return refused(400, f"host {shown(headers.get('host', ''))!r} is not this machine: ask 127.0.0.1")
        if is_of_a_page(headers) and not (method == "GET" and is_a_visit(headers, path)):
            return refused(403, "pages in a browser are not answered: ask with a program")
        if refusal := self._tokens.why_refused(method, headers, is_local=self._local):
            status, text = refusal
            return refused(status, text, {"www-authenticate": "Bearer"} if status == 401 else None)
        if headers.get("content-encoding", "identity") != "identity":
            return refused(415, "the body is compressed (Content-Encoding): send it uncompressed")
        return None

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Response:
        try:
            body = await _body(headers, receive)
        except TimeoutError:
            return refused(408, f"the body took longer than {BODY_S:g} s: send it at once", {"connection": "close"})
        if body is None:
            return refused(413, f"the body has more than {BODY_BYTES_MAX} bytes: send less", {"connection": "close"})
        query = scope["query_string"].decode("latin-1")
        return await self._routes.answer(Request(scope["method"], scope["scheme"], scope["path"], query, headers, body))


async def _body(headers: Mapping[str, str], receive: Receive) -> bytes | None:
    """Return the body of a request; None: it is too large, or the client disconnected. Raises TimeoutError."""
    body, size = bytearray(), 0
    if int(headers.get("content-length", 0)) > DRAINED_BYTES_MAX:
        return None
    async with asyncio.timeout(BODY_S):
        while size <= DRAINED_BYTES_MAX:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size <= BODY_BYTES_MAX:
                body += part
            if not message.get("more_body", False):
                return bytes(body) if size <= BODY_BYTES_MAX else None
    return None
