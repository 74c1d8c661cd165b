"""Settings of a program that talks to a simulator."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

from ingest.simulator.server.app import Simulator

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
    """Return a port of 127.0.0.1 that nobody has: not of those that the system gives to whoever connects."""
    while True:
        with socket.socket() as listening:
            try:
                listening.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            except OSError:
                continue
            return int(listening.getsockname()[1])
