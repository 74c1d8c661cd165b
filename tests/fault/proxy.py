"""A proxy between the ingester and its database, with switches for what a network does.

Listens on a Unix socket in a folder of its own; the server is behind a Unix or a TCP socket. Two
threads carry each connection. Knows no more of the protocol than the bytes of two statements.
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
COPY = b"copy ticks "
COMMIT = b"\0commit\0\0\0"  # of the writer, in a message Parse without name; others send COMMIT as a simple query


@dataclass(slots=True)
class Trap:
    """Where to cut the connection that sends a text: bytes from its begin, or None: when it is answered."""

    text: bytes
    offset: int | None
    sprung: threading.Event = field(default_factory=threading.Event)


class _Link:
    """One connection: the client's socket and the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.passed = 0  # bytes from the client that the server has
        self.tail = b""  # the last of them, in case a text comes in two parts
        self.trap: Trap | None = None  # the one that this link has met
        self.cut_at: int | None = None  # the bytes that may pass before it springs
        self.tells_server = True
        self.carriers = 2

    def cut(self) -> None:
        for end in (self.client, self.server) if self.tells_server else (self.client,):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def url_through(url: str, folder: Path) -> str:
    """Return the URL that a database has through a proxy in a folder, which may come later."""
    known = conninfo_to_dict(url)
    login = ":".join(str(known[part]) for part in ("user", "password") if known.get(part))
    return f"postgresql://{login}@/{known['dbname']}?host={quote(str(folder), safe='')}&sslmode=disable"


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
    is_away
        Whether new connections are closed at once, as by a server that does not run.
    """

    def __init__(self, url: str, folder: Path) -> None:
        known = conninfo_to_dict(url)
        self._host, self._port = str(known.get("host") or "localhost"), int(known.get("port") or 5432)
        folder.mkdir(parents=True, exist_ok=True)
        self.url = url_through(url, folder)
        self.is_away = False
        self._open = threading.Event()
        self._open.set()
        self._trap: Trap | None = None
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

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

    def cut(self, *, tells_server: bool = True) -> int:
        """Cut every connection; the server may be left to think that its client is there. Return how many."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.tells_server = tells_server
            link.cut()
        return len(links)

    def pause(self) -> None:
        """Become a black hole: connections stay, and nothing goes through."""
        self._open.clear()

    def resume(self) -> None:
        """Let what waited go through."""
        self._open.set()

    def cut_in_copy(self, offset: int) -> threading.Event:
        """Cut so many bytes behind the begin of the next COPY of ticks; the event is set when it was done."""
        return self._lay(Trap(COPY, offset))

    def cut_before_commit(self) -> threading.Event:
        """Cut when the next COMMIT is sent, and do not pass it on."""
        return self._lay(Trap(COMMIT, 0))

    def cut_after_commit(self) -> threading.Event:
        """Pass the next COMMIT on, drop the server's answer and cut: the client cannot know."""
        return self._lay(Trap(COMMIT, None))

    def cut_at(self, text: bytes) -> threading.Event:
        """Cut when a text is sent next, and do not pass it on."""
        return self._lay(Trap(text, 0))

    def _lay(self, trap: Trap) -> threading.Event:
        self._trap = trap
        return trap.sprung

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            if self.is_away:
                client.close()
                continue
            try:
                link = _Link(client, self._connect())
            except OSError:
                client.close()  # the server is away, so we are
                continue
            with self._lock:
                self._links.add(link)
            threading.Thread(target=self._carry, args=(link, link.client), daemon=True).start()
            threading.Thread(target=self._carry, args=(link, link.server), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            server = socket.create_connection((self._host, self._port), timeout=5)
            server.settimeout(None)  # it may be silent for longer
            return server
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return server

    def _carry(self, link: _Link, source: socket.socket) -> None:
        """Carry one direction to its end; the second one to end closes the sockets."""
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._open.wait()
                if source is link.client:
                    self._to_server(link, data)
                elif link.trap is not None and link.trap.offset is None:
                    self._spring(link)
                else:
                    link.client.sendall(data)
        link.cut()
        with self._lock:
            link.carriers -= 1
            if link.carriers:
                return
            self._links.discard(link)
        link.client.close()
        link.server.close()

    def _to_server(self, link: _Link, data: bytes) -> None:
        if link.trap is None and self._trap is not None:
            self._look_for(self._trap, link, data)
        keep = len(data) if link.cut_at is None else min(max(link.cut_at - link.passed, 0), len(data))
        link.server.sendall(data[:keep])
        link.passed += keep
        if link.passed == link.cut_at:
            self._spring(link)

    def _look_for(self, trap: Trap, link: _Link, data: bytes) -> None:
        window = link.tail + data
        at = window.find(trap.text)
        if at >= 0:
            self._trap, link.trap = None, trap
            if trap.offset is not None:
                link.cut_at = link.passed - len(link.tail) + at + trap.offset
        link.tail = window[-len(trap.text) :]

    def _spring(self, link: _Link) -> None:
        assert link.trap is not None
        link.cut()
        link.trap.sprung.set()
