"""Guard of the HTTP API: what every request passes before it is looked at, and the one form of every refusal.

A refusal is `{"error": text}`, whoever refuses. A body is read here, whole and bounded, so that nobody behind the
guard can be made to hold more.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.addresses import is_loopback
from ingest.errors import StoreError, SubscriptionError, UnknownNameError
from ingest.live.access import TOKEN_FILE, calls_loopback, is_of_a_page, shows_token
from ingest.model.frames import MODE_NAMES
from ingest.model.keys import is_key, is_name, shown
from ingest.redaction import redact

BODY_BYTES_MAX = 2**20  # the 25,000 keys of a Plus account with five connections are 700 KB
DRAINED_BYTES_MAX = 16 * 2**20  # of a body that is too large are read and dropped: who still sends hears no answer
BODY_S = 5.0  # a body that takes longer on the way is not waited for
READING = frozenset({"GET", "HEAD", "OPTIONS"})
WRONG_KEYS = 'give them as {"keys": ["NSE_FO|53001", "INFY"]}'


class Guard:
    """What stands before the application: host, origin, token and size of a request."""

    def __init__(self, app: ASGIApp, *, host: str, token: str) -> None:
        self._app, self._token = app, token
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        headers = Headers(scope=scope)
        if self._local and not calls_loopback(headers):
            answer = refused(400, f"host {shown(headers.get('host', ''))!r} is not this machine: ask 127.0.0.1")
        elif is_of_a_page(headers):
            answer = refused(403, "pages in a browser are not answered: ask with a program")
        elif not (self._local and scope["method"] in READING) and not shows_token(headers, self._token):
            text = f"a token is needed: send 'Authorization: Bearer …' with what {TOKEN_FILE!r} in TICKLINE_HOME holds"
            answer = refused(401, text, {"WWW-Authenticate": "Bearer"})
        elif headers.get("content-encoding", "identity") != "identity":
            answer = refused(415, "the body is packed (Content-Encoding): send it as it is")
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
    """A body that was read already, and after it what still comes: that the client went away."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        return message or await self._receive()


async def _body(headers: Headers, receive: Receive) -> bytes | None:
    """Return the body of a request; None: it is too large, or who sent it went away. Raises TimeoutError."""
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
    """Return a refusal; what it repeats of the request may be a secret in the wrong place."""
    return JSONResponse({"error": redact(text)}, status_code=status, headers=headers)


def say_errors(app: FastAPI) -> None:
    """Give every error of an application the form of a refusal."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        text = f"{exc.detail}: {request.method} {shown(request.url.path)!r}"
        return refused(exc.status_code, text, dict(exc.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, exc: RequestValidationError) -> JSONResponse:
        return refused(422, f"the request is not understood: {exc.errors()[0]['msg']}")

    @app.exception_handler(WrongRequestError)
    async def _wrong(_: Request, exc: WrongRequestError) -> JSONResponse:
        return refused(422, str(exc))

    @app.exception_handler(UnknownNameError)
    async def _unknown(_: Request, exc: UnknownNameError) -> JSONResponse:
        return refused(404, str(exc))

    @app.exception_handler(StoreError)
    async def _away(_: Request, exc: StoreError) -> JSONResponse:
        return refused(503, f"names are looked up in the database: {exc}: or give instrument keys")

    @app.exception_handler(SubscriptionError)
    async def _does_not_fit(_: Request, exc: SubscriptionError) -> JSONResponse:
        return refused(409, str(exc))

    @app.exception_handler(Exception)
    async def _fault(_: Request, exc: Exception) -> JSONResponse:
        return refused(500, f"internal error: {type(exc).__name__}: the log has more")  # uvicorn logs it


class WrongRequestError(Exception):
    """A body that cannot be meant."""


def names_and_mode(body: bytes, usual_mode: str) -> tuple[list[str], str]:
    """Return what a body asks for: `{"keys": [...], "mode": "full"}`, the mode being optional.

    A key is an instrument key or a name of an instrument, as INFY.

    Raises
    ------
    WrongRequestError
        If it is of another form, or if a text in it can be neither.
    """
    try:
        asked: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise WrongRequestError(f"the body is no JSON: {WRONG_KEYS}") from None
    if not isinstance(asked, dict):
        raise WrongRequestError(f"the body is no JSON object: {WRONG_KEYS}")
    keys, mode = asked.get("keys"), asked.get("mode", usual_mode)
    if not isinstance(keys, list) or not keys:
        raise WrongRequestError(f"'keys' is no list of instrument keys or names: {WRONG_KEYS}")
    for key in keys:
        if not isinstance(key, str) or not (is_key(key) or is_name(key)):
            raise WrongRequestError(f"{_named(key)} is no instrument key and no name: {WRONG_KEYS}")
    if not isinstance(mode, str) or mode not in MODE_NAMES:
        raise WrongRequestError(f"mode {_named(mode)} is unknown: give one of {', '.join(MODE_NAMES)}")
    return list(dict.fromkeys(keys)), mode


def _named(value: object) -> str:
    """Return a foreign value as an error shows it."""
    return repr(shown(value)) if isinstance(value, str) else f"a value of type {type(value).__name__}"
