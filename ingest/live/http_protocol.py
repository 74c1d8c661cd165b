"""HTTP connections of the API, bounded: in number, in time and in what they may hold; every refusal has one form.

uvicorn bounds an idle connection that has been answered. One that sends nothing, or its head a byte a minute, it
keeps for ever, and each takes a file descriptor that the journal may need.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingest.live.http_guard import BODY_S

CONNECTIONS_MAX = 32  # at once; who watches needs one
REQUEST_S = 3 * BODY_S  # from the first byte, or from when it was made, to the end of the answer
LINGER_S = 1.0  # so long who was refused may still send
HEAD_BYTES_MAX = 2**16  # of a request line with its headers


class BoundedProtocol(H11Protocol):
    """A connection that is ended when it is one too many, or when a request on it takes too long."""

    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or say that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * CONNECTIONS_MAX:
            transport.abort()  # there is no room for the answer either
        elif len(self.connections) > CONNECTIONS_MAX:
            self._refuse(503, f"more than {CONNECTIONS_MAX} connections: close some")
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a request start its time."""
        if self._refused or self.transport.is_closing():
            return
        if self._deadline is None:
            self._await_request()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a connection go."""
        self._forget_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Let the next request have its own time; uvicorn ends a connection on which none comes."""
        self._forget_deadline()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(400, "this is no HTTP/1.1 request, or its head is too long")

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_S, self._too_slow)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # an answer that nobody reads
        else:
            self._refuse(408, f"the request took longer than {REQUEST_S:g} s: send it at once")

    def _refuse(self, status: int, text: str) -> None:
        """Answer and end the connection, whatever state it is in."""
        body = json.dumps({"error": text}).encode()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            phrase = {400: b"Bad Request", 408: b"Request Timeout", 503: b"Service Unavailable"}[status]
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d" % len(body)
            self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n\r\n%s" % (status, phrase, head, body))
            self.transport.write_eof()
        # A socket that is closed with bytes unread is reset, and its last words are lost: they are read and dropped.
        self._refused = True
        self._forget_deadline()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)


def limits() -> dict[str, Any]:
    """Return what uvicorn is configured with."""
    return {"http": BoundedProtocol, "h11_max_incomplete_event_size": HEAD_BYTES_MAX, "server_header": False}
