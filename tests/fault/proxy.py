"""A proxy between the ingester and its database, with switches for what a network does.

Listens on a Unix socket in a folder of its own; the server is behind a Unix or a TCP socket. Two
threads carry each connection. Knows no more of the protocol than the text of a statement.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

CHUNK_BYTES = 64 * 2**10
COMMIT = b"COMMIT\0"  # the end of psycopg's simple query
COPY = b"copy ticks "


@dataclass(slots=True)
class Trap:
    """Cut the connection that sends a text: so many bytes behind it, or when it is answered."""

    text: bytes
    bytes_more: int = 0
    answered: bool = False  # the server gets the text and its answer is dropped
    sprung: threading.Event = field(default_factory=threading.Event)


class _Link:
    """One connection: the client's socket and the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.seen = b""  # end of what the client sent, in case a text is split
        self.left: int | None = None  # bytes to forward until the cut, once the text was seen
        self.answered: Trap | None = None  # the next answer is dropped

    def cut(self, *, server: bool = True) -> None:
        for end in (self.client, self.server) if server else (self.client,):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Carry connections to a PostgreSQL server until told otherwise.

    Parameters
    ----------
    url
        libpq URL of the database behind the proxy.
    folder
        Where the proxy's socket is made; a short path.

    Attributes
    ----------
    url
        libpq URL of the same database through the proxy.
    """

    def __init__(self, url: str, folder: Path) -> None:
        known = conninfo_to_dict(url)
        self._host, self._port = str(known.get("host") or "localhost"), int(known.get("port") or 5432)
        folder.mkdir(parents=True, exist_ok=True)
        user, password = known.get("user") or "postgres", known.get("password")
        login = f"{user}:{password}" if password else user
        self.url = f"postgresql://{login}@/{known['dbname']}?host={quote(str(folder), safe='')}&sslmode=disable"
        self._open = threading.Event()
        self._open.set()
        self._trap: Trap | None = None
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._accepting = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.resume()
        self.cut()

    def cut(self, *, server: bool = True) -> int:
        """Cut every connection; with `server` False the server is not told. Return how many there were."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut(server=server)
        return len(links)

    def pause(self) -> None:
        """Become a black hole: connections stay, and nothing goes through."""
        self._open.clear()

    def resume(self) -> None:
        """Let what waited go through."""
        self._open.set()

    def cut_in_copy(self, bytes_more: int) -> threading.Event:
        """Cut the next COPY of ticks after so many bytes; the event is set when it was done."""
        return self._set(Trap(COPY, bytes_more))

    def cut_before_commit(self) -> threading.Event:
        """Cut when the next COMMIT is sent, and do not pass it on."""
        return self._set(Trap(COMMIT))

    def cut_after_commit(self) -> threading.Event:
        """Pass the next COMMIT on, drop the server's answer and cut: the client cannot know."""
        return self._set(Trap(COMMIT, answered=True))

    def _set(self, trap: Trap) -> threading.Event:
        self._trap = trap
        return trap.sprung

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                link = _Link(client, self._connect())
            except OSError:
                client.close()  # the server is away, so we are
                continue
            with self._lock:
                self._links.add(link)
            for carry in (self._to_server, self._to_client):
                threading.Thread(target=self._carry, args=(carry, link), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port), timeout=5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _carry(self, carry: object, link: _Link) -> None:
        assert callable(carry)
        with suppress(OSError):
            carry(link)
        if carry == self._to_server:
            with suppress(OSError):
                link.server.shutdown(socket.SHUT_WR)
            return
        link.cut()
        with self._lock:
            self._links.discard(link)

    def _to_server(self, link: _Link) -> None:
        while data := link.client.recv(CHUNK_BYTES):
            self._open.wait()
            if (trap := self._trap) is None:
                link.server.sendall(data)
                continue
            keep = self._bytes_to_keep(link, trap, data)
            link.server.sendall(data[:keep])
            if link.left == 0:
                self._trap = None
                link.cut()
                trap.sprung.set()

    def _to_client(self, link: _Link) -> None:
        while data := link.server.recv(CHUNK_BYTES):
            self._open.wait()
            if link.answered is not None:
                link.cut()
                link.answered.sprung.set()
                return
            link.client.sendall(data)

    def _bytes_to_keep(self, link: _Link, trap: Trap, data: bytes) -> int:
        """How much of what a client sent is passed on before the cut, if this is where it comes."""
        if link.left is None:
            window = link.seen + data
            at = window.find(trap.text)
            if at < 0:
                link.seen = window[-len(trap.text) :]
                return len(data)
            if trap.answered:
                link.answered, self._trap = trap, None
                return len(data)
            begin = max(at - len(link.seen), 0) if trap.text == COMMIT else len(data)
            behind = len(window) - at - len(trap.text)
            link.left = trap.bytes_more
            if trap.text == COMMIT or behind == 0:
                return 0 if trap.text == COMMIT else begin
            data = window[at + len(trap.text) :]
        keep = min(link.left, len(data))
        link.left -= keep
        return keep
