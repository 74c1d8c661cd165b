"""A TCP proxy in front of a collector that cuts, alters and withholds its answers while it is told to."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK_BYTES = 2**14


class Mangler:
    """Carry connections to a port of this machine; requests go through unchanged.

    Parameters
    ----------
    port
        Of the collector.
    seed
        Of what happens to which answer.

    Attributes
    ----------
    port
        Where it listens.
    share
        Share of the parts of answers that are mangled: cut behind a byte in them, or with a byte altered.
    is_away
        Whether connections are refused.
    flows
        Unset: connections stay and can be made, and nothing goes through, as when a network is parted.
    mangled
        Parts that were mangled so far.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.share = 0.0
        self.is_away = False
        self.flows = threading.Event()
        self.flows.set()
        self.mangled = 0
        self._rng = random.Random(seed)
        self._target = port
        self._links: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="mangler", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flows.set()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for end in list(self._links):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                assert not self.is_away
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except (OSError, AssertionError):
                client.close()
                continue
            server.settimeout(None)
            self._links |= {client, server}
            for given in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._carry, args=given, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self.flows.wait()
                if is_answer and self._rng.random() < self.share:
                    self.mangled += 1
                    at = self._rng.randrange(len(data))
                    if self._rng.random() < 0.5:
                        target.sendall(data[:at])
                        break
                    data = data[:at] + bytes([data[at] ^ (1 << self._rng.randrange(8))]) + data[at + 1 :]
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._links.discard(end)
