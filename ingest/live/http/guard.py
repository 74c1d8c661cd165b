"""Guard of the HTTP API: check every request before the application sees it, and give all refusals one form.

Every refusal is `{"error": text}`. The guard reads the whole body up to a limit, so that a request cannot make the
application hold more.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.addresses import is_loopback
from ingest.errors import StoreError, SubscriptionError, UnknownNameError
from ingest.live.access import Tokens, calls_loopback, is_a_visit, is_of_a_page
from ingest.live.http.described import NAME_PATTERN
from ingest.model.frames import MODE_NAMES
from ingest.model.keys import shown
from ingest.redaction import redact

BODY_BYTES_MAX = 2**20  # the 25,000 keys of a Plus account with five connections are 700 KB
DRAINED_BYTES_MAX = 16 * 2**20  # of a too large body are read and dropped: a client reads no answer while it sends
BODY_S = 5.0  # time limit for receiving a body
_NAME = re.compile(NAME_PATTERN[1:-1])
WRONG_KEYS = 'give them as {"keys": ["NSE_FO|53001", "INFY"]}'


class Guard:
    """ASGI middleware that checks host, origin, token and size of each request."""

    def __init__(self, app: ASGIApp, *, host: str, tokens: Tokens) -> None:
        self._app, self._tokens = app, tokens
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        headers = Headers(scope=scope)
        if self._local and not calls_loopback(headers):
            answer = refused(400, f"host {shown(headers.get('host', ''))!r} is not this machine: ask 127.0.0.1")
        elif is_of_a_page(headers) and not (scope["method"] == "GET" and is_a_visit(headers, scope["path"])):
            answer = refused(403, "pages in a browser are not answered: ask with a program")
        elif refusal := self._tokens.why_refused(scope["method"], headers, is_local=self._local):
            status, text = refusal
            answer = refused(status, text, {"WWW-Authenticate": "Bearer"} if status == 401 else None)
        elif headers.get("content-encoding", "identity") != "identity":
            answer = refused(415, "the body is compressed (Content-Encoding): send it uncompressed")
        else:
            try:
                body = await _body(headers, receive)
            except TimeoutError:
                text = f"the body took longer than {BODY_S:g} s: send it at once"
                answer = refused(408, text, {"Connection": "close"})
            else:
                if body is not None:
                    await self._app(scope, _Replay(body, receive), send)
                    return
                text = f"the body has more than {BODY_BYTES_MAX} bytes: send less"
                answer = refused(413, text, {"Connection": "close"})
        await answer(scope, receive, send)


class _Replay:
    """Receive channel that gives the body read before, then the client's later messages, such as its disconnect."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        return message or await self._receive()


async def _body(headers: Headers, receive: Receive) -> bytes | None:
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


def refused(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a refusal; secrets in it are redacted, since a text may repeat parts of the request."""
    return JSONResponse({"error": redact(text)}, status_code=status, headers=headers)


def say_errors(app: FastAPI) -> None:
    """Make an application answer every error in the form of a refusal."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        text = f"{exc.detail}: {request.method} {shown(request.url.path)!r}"
        return refused(exc.status_code, text, dict(exc.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "request")
        return refused(422, f"{shown(where)!r} is not valid: {first['msg'].removeprefix('Value error, ')}")

    @app.exception_handler(WrongRequestError)
    async def _wrong(_: Request, exc: WrongRequestError) -> JSONResponse:
        return refused(422, str(exc))

    @app.exception_handler(UnknownNameError)
    async def _unknown(_: Request, exc: UnknownNameError) -> JSONResponse:
        return refused(404, str(exc))

    @app.exception_handler(StoreError)
    async def _away(_: Request, exc: StoreError) -> JSONResponse:
        return refused(503, f"this needs the database: {exc}; keys that are recorded need no look-up of names")

    @app.exception_handler(SubscriptionError)
    async def _does_not_fit(_: Request, exc: SubscriptionError) -> JSONResponse:
        return refused(409, str(exc))

    @app.exception_handler(Exception)
    async def _fault(_: Request, exc: Exception) -> JSONResponse:
        return refused(500, f"internal error: {type(exc).__name__}: see the log")  # uvicorn logs it


class WrongRequestError(Exception):
    """A body that is not a valid request."""


def names_and_mode(body: bytes, usual_mode: str) -> tuple[list[str], str]:
    """Return the names and the mode in a body: `{"keys": [...], "mode": "full"}`; the mode is optional.

    A key is an instrument key or a name of an instrument, such as INFY.

    Raises
    ------
    WrongRequestError
        If the body has another form, or a text in it is neither a key nor a name.
    """
    asked = _object(body)
    keys, mode = asked.get("keys"), asked.get("mode", usual_mode)
    if not isinstance(keys, list) or not keys:
        raise WrongRequestError(f"'keys' is not a list of instrument keys or names: {WRONG_KEYS}")
    for key in keys:
        if not isinstance(key, str) or not _NAME.fullmatch(key):
            raise WrongRequestError(f"{_named(key)} is neither an instrument key nor a name: {WRONG_KEYS}")
    if not isinstance(mode, str) or mode not in MODE_NAMES:
        raise WrongRequestError(f"mode {_named(mode)} is unknown: give one of {', '.join(MODE_NAMES)}")
    return list(dict.fromkeys(keys)), mode


def names_if_any(body: bytes) -> list[str] | None:
    """Return the names in a body; None: there is no body, or it has no `keys`. Raises as `names_and_mode` does."""
    return names_and_mode(body, next(iter(MODE_NAMES)))[0] if body and "keys" in _object(body) else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise WrongRequestError(f"the body is not JSON: {WRONG_KEYS}") from None
    if not isinstance(asked, dict):
        raise WrongRequestError(f"the body is not a JSON object: {WRONG_KEYS}")
    return asked


def _named(value: object) -> str:
    """Return a foreign value in the form that errors show."""
    return repr(shown(value)) if isinstance(value, str) else f"a value of type {type(value).__name__}"
