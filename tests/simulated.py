"""Settings of a program that talks to a simulator."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ingest.simulator.server.app import Simulator

PORTS = range(20_000, 32_000)  # below those that the system gives to whoever connects or asks for any
WORKERS_MAX = 16
NOWHERE = "http://127.0.0.1:9"  # nobody listens on the port of `discard`


def settings_for(simulator: Simulator, home: Path) -> dict[str, Any]:
    """Return where the simulator is, its token, and a home."""
    return {
        "home": home,
        "upstox_api_url": simulator.url,
        "upstox_assets_url": simulator.url,
        "upstox_access_token": simulator.token,
    }


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that no other test of this run is given meanwhile."""
    for port in _ports():
        with socket.socket() as listening:
            try:
                listening.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle has no end")


@cache
def _ports() -> Iterator[int]:
    """The ports of this worker, one after the other: a port comes again after hundreds of others."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = PORTS[number % WORKERS_MAX :: WORKERS_MAX]
    first = random.SystemRandom().randrange(len(own))  # two runs on one machine seldom meet
    return itertools.cycle([*own[first:], *own[:first]])
