"""Assignment: what a collector says of the keys that it records, and how writers give it others.

    GET /universe   what the collector has room for, records and hears; the keys only if they are not those of ?known=
    PUT /universe   {"database", "keys": {key: mode}}: the keys that it records from now on

Owns these messages and their paths. Must not know which key belongs where.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import google_crc32c
from aiohttp import web

from ingest.errors import ConfigError, SubscriptionError
from ingest.model.keys import is_key, shown
from ingest.transport.cursor import OtherDatabaseError
from ingest.transport.server import refused

PATH = "/universe"
KEYS_BYTES_MAX = 4 * 2**20  # the 25,000 keys of a Plus account are 1 MB
BODY_S = 10.0
TAKE_S = 10.0  # the event loop that records has more to do


@dataclass(frozen=True, slots=True)
class Unheard:
    """A connection that brings nothing, though data should come and others are heard.

    Parameters
    ----------
    keys
        Its keys.
    seconds
        For how long.
    market_ms
        The feed's time that it said last, epoch ms; 0: not known.
    """

    keys: tuple[str, ...]
    seconds: float
    market_ms: int

    @classmethod
    def from_json(cls, found: Any) -> Unheard:
        """Return it out of plain values. Raises KeyError, TypeError or ValueError."""
        return cls(tuple(map(str, found["keys"])), float(found["seconds"]), int(found["market_ms"]))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a collector says of itself.

    Parameters
    ----------
    collector
        Its name.
    account
        Limits of its account, as plain values.
    refuses
        Why it takes no keys; "": it takes them.
    digest
        Of the keys that it records.
    keys
        These, instrument key -> mode; None: those of the digest that was asked with.
    hears
        Whether it has keys and data comes, or none should: the market is closed.
    unheard_s
        For how long no data has come that should, seconds.
    unanswered
        Those of its keys that the feed has not answered.
    market_ms
        The feed's time when it looked at all this, epoch ms; 0: not known.
    unheard
        Those of its connections that bring nothing, while others do.
    awaits
        Whether no writer has spoken to it since its start.
    """

    collector: str
    account: Mapping[str, Any]
    refuses: str
    digest: str
    keys: dict[str, str] | None
    hears: bool
    unheard_s: float
    unanswered: tuple[str, ...] = ()
    market_ms: int = 0
    unheard: tuple[Unheard, ...] = ()
    awaits: bool = False

    @classmethod
    def from_json(cls, found: Any) -> Standing:
        """Return it out of plain values. Raises KeyError, TypeError, ValueError or AttributeError."""
        keys = found["keys"]
        if not all(map(is_key, keys or ())):
            raise ValueError("one of its keys is none")
        return cls(
            str(found["collector"]),
            dict(found["account"]),
            str(found["refuses"]),
            str(found["digest"]),
            None if keys is None else {str(key): str(mode) for key, mode in keys.items()},
            bool(found["hears"]),
            float(found["unheard_s"]),
            tuple(map(str, found["unanswered"])),
            int(found["market_ms"]),
            tuple(map(Unheard.from_json, found.get("unheard", ()))),  # an older version has none
            bool(found.get("awaits", False)),
        )


class Assignee(Protocol):
    """Who records the keys. Its methods may be called on any thread."""

    def standing(self, known: str) -> Standing:
        """Return what it says; the keys unless `known` is their digest."""

    def take(self, keys: dict[str, str], database: str) -> Future[None]:
        """Record these keys from now on.

        The future raises OtherDatabaseError if another database gives them, ConfigError or SubscriptionError if it
        takes none or they do not fit, and OSError if they cannot be stored; nothing has changed then.
        """


class KeyTaker(Protocol):
    """A collector elsewhere that may be given keys, as a writer reaches it."""

    name: str
    tells: bool  # whether we have what is needed to give it keys

    async def standing(self, known: str) -> Standing:
        """Return what it says of its keys.

        Raises UnreachableError, JournalError if it refuses, and SegmentGoneError if it takes no keys at all.
        """

    async def assign(self, keys: Mapping[str, str], database: str) -> None:
        """Give it the keys that it records from now on; raises as `standing` does."""

    async def close(self) -> None:
        """Close the connections."""


def digest_of(keys: Mapping[str, str]) -> str:
    """Return the digest of keys and their modes, in any order."""
    return f"{google_crc32c.value(json.dumps(sorted(keys.items())).encode()):08x}"


async def take_given(assignee: Assignee, body: Any) -> tuple[int, str]:
    """Let keys be recorded as a writer says; return the status of HTTP for the answer, and the error; "": none."""
    try:
        keys, database = body["keys"], body["database"]
        if not isinstance(keys, dict) or not isinstance(database, str) or not 0 < len(database) <= 200:
            raise ValueError
    except (ValueError, TypeError, LookupError):
        return 422, 'the body is not {"database": …, "keys": {key: mode}}'
    if wrong := next((key for key, mode in keys.items() if not is_key(key) or not isinstance(mode, str)), None):
        return 422, f"{shown(wrong)!r} is no instrument key with a mode"
    try:
        async with asyncio.timeout(TAKE_S):
            await asyncio.wrap_future(assignee.take(keys, database))
    except OtherDatabaseError as exc:
        return 409, str(exc)
    except (ConfigError, SubscriptionError) as exc:
        return 422, str(exc)
    except OSError as exc:
        return 503, f"keys cannot be stored: {exc.strerror or exc}: free some space"
    except TimeoutError:
        return 503, "the collector is busy: ask again"
    return 200, ""


def routes_of(assignee: Assignee) -> Callable[[web.Application], None]:
    """Return what adds the two paths to a server."""

    async def said(request: web.Request) -> web.Response:
        return web.json_response(asdict(assignee.standing(request.query.get("known", "")[:64])))

    async def given(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(BODY_S):
                body = json.loads(await _bounded(request))
        except (ValueError, TimeoutError):
            body = None
        status, error = await take_given(assignee, body)
        return refused(status, error) if error else web.json_response({"keys": len(body["keys"])})

    def add(app: web.Application) -> None:
        app.router.add_get(PATH, said)
        app.router.add_put(PATH, given)

    return add


async def _bounded(request: web.Request) -> bytes:
    """Return the body of a request; ValueError if it is too long."""
    data = bytearray()
    async for part in request.content.iter_any():
        data += part
        if len(data) > KEYS_BYTES_MAX:
            raise ValueError
    return bytes(data)
