"""HTTP collector: the segments of a collector on another machine, by ranges over HTTP or TLS.

Owns the requests, the token, and what counts as a proper answer: whatever is cut short, altered on the way or not what
was asked for is `UnreachableError`, and is asked for again.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import google_crc32c

from ingest.addresses import is_loopback
from ingest.errors import ConfigError, JournalError
from ingest.model.records import Position
from ingest.transport.assignment import KEYS_BYTES_MAX, Standing
from ingest.transport.assignment import PATH as UNIVERSE
from ingest.transport.segments import Listing, Piece, SegmentGoneError, UnreachableError
from ingest.transport.server import CLOSED, CRC, END, PREFIX
from ingest.transport.trust import client_context, why_not_trusted

AUTHORITY = "TICKLINE_COLLECTOR_CA"
CONNECT_S = 5.0
ANSWER_S = 10.0  # beside the wait for bytes
LISTING_BYTES_MAX = 16 * 2**20  # a hundred thousand segments
REFUSAL_BYTES_MAX = 2**14
BROKER = "nats:"  # begins a source that comes through the broker: nats:COLLECTOR, or nats:COLLECTOR=URL of its server
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)")


def address_of(source: str) -> str:
    """Return the address of the collector's server in a source of `tickline write`; "": it has none."""
    url = source.partition("=")[2] if source.startswith(BROKER) else source
    return url if "://" in url else ""


class HttpCollector:
    """A `SegmentSource` at a URL.

    Parameters
    ----------
    url
        Of the collector: https://host:port, or http:// on this machine.
    token
        Its journal-token; None: it needs none on loopback, where it then learns nothing of what is committed.
    authority
        PEM file with the authority of its certificate; None: those of the system.

    Raises
    ------
    ConfigError
        If the URL is none, or the token would travel unencrypted.
    """

    def __init__(self, url: str, token: str | None, authority: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
            raise ConfigError(f"collector {url!r} is no address: write it as https://host:8791")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ConfigError(
                f"collector {url!r} would get the token, and send the journal, unencrypted: use https://, see "
                "TICKLINE_JOURNAL_TLS_CERTIFICATE"
            )
        self.name, self.host = url.rstrip("/"), parts.hostname
        self.tells = token is not None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls: ssl.SSLContext | bool = True
        if authority is not None:
            self._tls = client_context(authority, AUTHORITY)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def streams(self) -> Listing:
        """Return what there is; see `SegmentSource`."""
        return (await self.dated_streams())[0]

    async def dated_streams(self) -> tuple[Listing, str]:
        """Return what there is, and the date of the answer by the collector's clock, as HTTP writes it."""
        async with self._answer("GET", PREFIX) as answer:
            await self._check(answer, 200)
            try:
                listing = Listing.from_json(json.loads(await _body(answer, LISTING_BYTES_MAX)))
            except (ValueError, TypeError, LookupError, AttributeError) as exc:
                raise UnreachableError(f"collector {self.name!r} answers no list: is it another program?") from exc
            return listing, answer.headers.get("Date", "")

    async def takes_token(self) -> bool:
        """Tell whether we may say what is committed; this says nothing, and changes nothing."""
        async with self._answer("PUT", f"{PREFIX}/-/committed", body={}) as answer:
            return answer.status == 422  # it was read, and lacks everything

    async def piece(self, stream: str, segment: str, offset: int, *, bytes_max: int, wait_s: float) -> Piece:
        """Return synced bytes of a segment; see `SegmentSource`."""
        path = f"{PREFIX}/{stream}/{segment}?wait_s={wait_s:g}"
        asked = {"Range": f"bytes={offset}-{offset + bytes_max - 1}"}
        async with self._answer("GET", path, headers=asked, wait_s=wait_s) as answer:
            if answer.status == 416 and END in answer.headers:
                return Piece(b"", *self._end(answer))
            await self._check(answer, 206)
            data = await _body(answer, bytes_max)
            found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if found is None or (int(found[1]), int(found[2])) != (offset, offset + len(data) - 1):
                raise UnreachableError(f"collector {self.name!r} answers other bytes than were asked for: asking again")
            if answer.headers.get(CRC, "") != f"{google_crc32c.value(data):08x}":
                raise UnreachableError(f"bytes of collector {self.name!r} were altered on the way: asking again")
            return Piece(data, *self._end(answer))

    async def committed(self, stream: str, position: Position, database: str) -> None:
        """Tell how far the ledger is; see `SegmentSource`."""
        told = {"segment": position.segment, "offset": position.offset, "database": database}
        async with self._answer("PUT", f"{PREFIX}/{stream}/committed", body=told) as answer:
            await self._check(answer, 200)

    async def standing(self, known: str) -> Standing:
        """Return what the collector says of its keys; raises as `streams`, SegmentGoneError if it takes none at all."""
        async with self._answer("GET", f"{UNIVERSE}?known={known}") as answer:
            await self._check(answer, 200)
            try:
                return Standing.from_json(json.loads(await _body(answer, KEYS_BYTES_MAX)))
            except (ValueError, TypeError, LookupError, AttributeError) as exc:
                raise UnreachableError(f"collector {self.name!r} does not say what it records") from exc

    async def assign(self, keys: Mapping[str, str], database: str) -> None:
        """Give the collector the keys that it records from now on; raises as `committed` does."""
        async with self._answer("PUT", UNIVERSE, body={"database": database, "keys": dict(keys)}) as answer:
            await self._check(answer, 200)

    def _end(self, answer: aiohttp.ClientResponse) -> tuple[int, bool]:
        try:
            return int(answer.headers[END]), answer.headers[CLOSED] == "1"
        except (LookupError, ValueError) as exc:
            raise UnreachableError(f"collector {self.name!r} does not say where the segment ends") from exc

    async def _check(self, answer: aiohttp.ClientResponse, status: int) -> None:
        """Raise the error of an answer with another status."""
        if answer.status == status:
            return
        try:
            said = str(json.loads(await _body(answer, REFUSAL_BYTES_MAX))["error"])[:300]
        except (ValueError, TypeError, LookupError):
            said = "no reason is given"
        if answer.status == 404:
            raise SegmentGoneError(said)
        if answer.status == 401:
            said = "token refused: set TICKLINE_COLLECTOR_TOKEN to what its journal-token holds"
        if answer.status == 403 and answer.method == "PUT":
            said = "the token only reads: set TICKLINE_COLLECTOR_TOKEN to what its journal-token holds"
            raise JournalError(f"collector {self.name!r} refuses: {said}")
        if answer.status in {409, 422}:
            raise JournalError(f"collector {self.name!r} refuses: {said}")
        raise UnreachableError(f"collector {self.name!r} answers {answer.status}: {said}")

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: Any = None,
        wait_s: float = 0.0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, headers=self._headers)
        timeout = aiohttp.ClientTimeout(total=ANSWER_S + wait_s, sock_connect=CONNECT_S)
        try:
            async with self._session.request(
                method,
                self.name + path,
                headers=headers,
                json=body,
                ssl=self._tls,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as exc:
            if why := why_not_trusted(exc, AUTHORITY):
                raise UnreachableError(f"collector {self.name!r} is not asked: {why}") from exc
            said = str(exc) or type(exc).__name__
            raise UnreachableError(f"collector {self.name!r} does not answer: {said[:200]}") from exc


async def _body(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Return the body of an answer, whole; one that is longer is none of ours."""
    data = bytearray()
    async for part in answer.content.iter_any():
        data += part
        if len(data) > bytes_max:
            raise UnreachableError("the answer is longer than what was asked for: asking again")
    return bytes(data)
