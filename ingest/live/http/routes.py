"""Routes: what is asked at which address, how its parameters are read, and how every error is answered.

All paths are fixed, so a dictionary finds them; parameters are pydantic models, which describe themselves. A framework
would do the same, and take most of the memory and time of loading the API.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ingest.errors import StoreError, SubscriptionError, UnknownNameError
from ingest.model.keys import shown
from ingest.redaction import redact

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Handler = TypeVar("Handler", bound=Callable[..., Awaitable["Response"]])

JSON = "application/json"
REPEATED = frozenset({"key", "kind"})  # parameters that may come several times; of others the last one counts


class WrongRequestError(Exception):
    """A request that is not valid."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes
    ----------
    headers
        By name, in lower case; the first of several of a name.
    query
        Part of the address behind the question mark, as it was sent.
    """

    method: str
    scheme: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response:
    """What is answered: a whole body; an ASGI application."""

    def __init__(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
    ) -> None:
        self.body, self.status = body, status
        self.headers = {"content-type": media_type, "content-length": str(len(body))} | dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def answered(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON; written in one call, because the standard library takes several times as long."""
    return Response(to_json(value, inf_nan_mode="null"), status, headers)


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal; secrets in it are redacted, since a text may repeat parts of the request."""
    return answered({"error": redact(text)}, status, headers)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes
    ----------
    handler
        Called with the request, and with its parameters if there is a `query`.
    query
        Form of the parameters.
    summary, said
        What the OpenAPI document says of it; without a summary it is not in there.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Response]]
    query: type[BaseModel] | None = None
    summary: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)


class Routes:
    """All routes of one API, in the order of the document."""

    def __init__(self) -> None:
        self._routes: dict[str, dict[str, Route]] = {}

    def __iter__(self) -> Iterator[Route]:
        return (route for methods in self._routes.values() for route in methods.values())

    def add(
        self, method: str, path: str, summary: str = "", *, query: type[BaseModel] | None = None, **said: Any
    ) -> Callable[[Handler], Handler]:
        """Return a decorator that adds a function; parameters are those of `Route`."""

        def added(handler: Handler) -> Handler:
            self._routes.setdefault(path, {})[method] = Route(method, path, handler, query, summary, said)
            return handler

        return added

    async def answer(self, request: Request) -> Response:
        """Answer a request, whatever happens."""
        try:
            methods = self._routes.get(request.path, {})
            if (route := methods.get(request.method)) is None:
                where = f"{request.method} {shown(request.path)!r}"
                if methods:
                    return refused(405, f"Method Not Allowed: {where}", {"allow": ", ".join(methods)})
                return refused(404, f"Not Found: {where}")
            if route.query is None:
                return await route.handler(request)
            return await route.handler(request, parameters(route.query, request.query))
        except WrongRequestError as exc:
            return refused(422, str(exc))
        except UnknownNameError as exc:
            return refused(404, str(exc))
        except SubscriptionError as exc:
            return refused(409, str(exc))
        except StoreError as exc:
            return refused(503, f"this needs the database: {exc}; keys that are recorded need no look-up of names")
        except Exception as exc:
            log.exception("request failed method=%s path=%r", request.method, shown(request.path))
            return refused(500, f"internal error: {type(exc).__name__}: see the log")


def parameters(model: type[BaseModel], query: str) -> BaseModel:
    """Return the parameters of an address in their form; others are ignored.

    Raises
    ------
    WrongRequestError
        If one is missing or not valid.
    """
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in REPEATED:
            given.setdefault(name, []).append(value)
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        where = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "request")
        text = f"{shown(where)!r} is not valid: {first['msg'].removeprefix('Value error, ')}"
        raise WrongRequestError(text) from None
