"""HTTP connections of the API with limits on number, time and size; every refusal has the same form.

uvicorn only limits idle connections after an answer. It keeps a connection that sends nothing, or one byte a minute,
for ever, and each one takes a file descriptor that the journal may need.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingest.live.http.guard import BODY_S

CONNECTIONS_MAX = 64  # at once; one client needs one
STREAM_SEND_BYTES = 2**18  # of a stream that waits in the kernel; by default it would be megabytes of old ticks
REQUEST_S = 3 * BODY_S  # from the first byte, or from the connection, to the end of the answer
LINGER_S = 1.0  # how long a refused client may still send
CONNECTION = "tickline.connection"  # name of the protocol in the state of a request
HEAD_BYTES_MAX = 2**16  # size of a request line with its headers


class BoundedProtocol(H11Protocol):
    """A connection that is closed if there are too many, or if a request on it takes too long."""

    _deadline: asyncio.TimerHandle | None = None
    _refused = False
    _is_endless = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, CONNECTION: self}
        if len(self.connections) > 2 * CONNECTIONS_MAX:
            transport.abort()  # too many even to be refused with an answer
        elif len(self.connections) > CONNECTIONS_MAX:
            self._refuse(503, f"more than {CONNECTIONS_MAX} connections: close some")
        else:
            self._await_request()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first byte of a request starts its time limit."""
        if self._refused or self.transport.is_closing():
            return
        if self._deadline is None:
            self._await_request()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after a closed connection."""
        self._forget_deadline()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Clear the time limit, since the next request has its own; uvicorn closes the connection if none comes."""
        self._forget_deadline()
        self._is_endless = False
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not HTTP."""
        self._refuse(400, "this is not an HTTP/1.1 request, or its head is too long")

    def allow_endless(self) -> None:
        """Let the answer to the current request take as long as it lasts; who sends it must notice a stalled client."""
        self._is_endless = True
        self._forget_deadline()
        sending = self.transport.get_extra_info("socket")
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_SEND_BYTES)

    def abort(self) -> None:
        """Close the connection at once; what its client has not read is lost."""
        self.transport.abort()

    def _await_request(self) -> None:
        if self._is_endless:
            return
        self._deadline = self.loop.call_later(REQUEST_S, self._too_slow)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()  # the client does not read its answer
        else:
            self._refuse(408, f"the request took longer than {REQUEST_S:g} s: send it at once")

    def _refuse(self, status: int, text: str) -> None:
        """Send a refusal and close the connection, whatever its state."""
        body = json.dumps({"error": text}).encode()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            phrase = {400: b"Bad Request", 408: b"Request Timeout", 503: b"Service Unavailable"}[status]
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d" % len(body)
            self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n\r\n%s" % (status, phrase, head, body))
            self.transport.write_eof()
        # Closing a socket with unread bytes resets it and loses the answer, so they are read and dropped first.
        self._refused = True
        self._forget_deadline()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)


def limits() -> dict[str, Any]:
    """Return the limits as arguments of `uvicorn.Config`."""
    return {"http": BoundedProtocol, "h11_max_incomplete_event_size": HEAD_BYTES_MAX, "server_header": False}
