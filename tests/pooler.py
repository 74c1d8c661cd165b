"""A pooler between clients and a PostgreSQL server: one server session for a client, or another for each transaction.

Speaks as much of the protocol as PgBouncer does for this: the greeting is answered by the pooler itself, with a process
id of its own, settings in it are refused, and servers that wait are used newest first.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

PLAIN_REQUESTS = (80877103, 80877104)  # for TLS and for GSS
CANCEL = 80877102


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _message(stream: socket.socket) -> bytes:
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!I", head[1:])[0] - 4)


def _sent(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


class Pooler:
    """Carry sessions to the server of a URL until told otherwise."""

    def __init__(self, url: str, *, keeps_sessions: bool, host: str = "127.0.0.1") -> None:
        known = conninfo_to_dict(url)
        self._keeps_sessions = keeps_sessions
        self._server = f"{known['host']}/.s.PGSQL.{known.get('port', 5432)}"
        self._greeting = "".join(
            f"{word}\0{known[name]}\0" for word, name in (("user", "user"), ("database", "dbname"))
        )
        self._free: list[socket.socket] = []
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self.user, self.dbname = str(known["user"]), str(known["dbname"])
        place = f"[{host}]" if ":" in host else host
        self.url = f"postgresql://{self.user}@{place}:{self.port}/{quote(self.dbname, safe='')}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for server in self._free:
            server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connected(self, name: str = "") -> tuple[socket.socket, bytes]:
        """Open a session of the server with an application's name; return it and what it says of itself."""
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        body = struct.pack("!I", 196608) + self._greeting.encode() + f"application_name\0{name}\0\0".encode()
        server.sendall(struct.pack("!I", len(body) + 4) + body)
        said = b""
        while (message := _message(server))[:1] != b"Z":
            said += message if message[:1] == b"S" else b""
        return server, said

    def _taken(self) -> socket.socket:
        """Return a server that waits and lives, or a new one."""
        with self._lock:
            while self._free:
                server = self._free.pop()
                if not select.select([server], [], [], 0)[0]:
                    return server
                server.close()
        return self._connected()[0]

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        with client, suppress(EOFError, OSError):
            while (words := _exactly(client, struct.unpack("!I", _exactly(client, 4))[0] - 4))[:4] in [
                struct.pack("!I", code) for code in PLAIN_REQUESTS
            ]:
                client.sendall(b"N")
            if struct.unpack("!I", words[:4])[0] == CANCEL:
                return
            if b"\0options\0" in words:
                client.sendall(_sent(b"E", b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"))
                return
            fields = words[4:].split(b"\0")
            server, said = self._connected(
                dict(zip(fields[::2], fields[1::2], strict=False)).get(b"application_name", b"").decode()
            )
            key = _sent(b"K", os.urandom(8))
            client.sendall(_sent(b"R", bytes(4)) + said + key + _sent(b"Z", b"I"))
            server = self._carry(client, server)
        if server is not None:
            server.close()

    def _carry(self, client: socket.socket, server: socket.socket | None) -> socket.socket | None:
        """Carry messages until one of both goes; return the server that the client has then."""
        unanswered = 0
        while True:
            if server is not None and not unanswered and not self._keeps_sessions:
                with self._lock:
                    self._free.append(server)
                server = None
            ready = select.select([client] + ([server] if server else []), [], [])[0]
            if client in ready:
                try:
                    message = _message(client)
                except (EOFError, OSError):
                    return server
                if message[:1] == b"X":
                    return server
                server = server or self._taken()
                # A transaction that is open is not answered yet.
                unanswered += message[:1] in b"QS"
                server.sendall(message)
            elif server is not None:
                message = _message(server)
                client.sendall(message)
                if message[:1] == b"Z" and message[-1:] == b"I":
                    unanswered = 0
