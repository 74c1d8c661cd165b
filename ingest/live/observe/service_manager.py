"""Word to the service manager: ready, what it does, that it lives, and that it stops; systemd's `sd_notify`.

Owns the protocol, lines of text in one datagram (sd_notify(3)), and how often. Without `NOTIFY_SOCKET` in the
environment nothing is sent. The watchdog's messages come from the event loop that records: when it is blocked they end,
and the service manager restarts the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from ingest.live.ingestion import Ingestion
from ingest.live.observe.health import health

SOCKET, WATCHDOG_US, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
SAY_S = 5.0  # how often the status is said
SHARE = 3  # messages in the watchdog's time: two may be late
STATUS_CHARS_MAX = 300


def tell(*lines: str) -> None:
    """Send lines such as `READY=1`; do nothing if no service manager listens, or it does not take them."""
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending,
    ):
        sending.setblocking(False)
        sending.connect("\0" + address[1:] if address.startswith("@") else address)
        sending.send("\n".join(lines).encode())


def watchdog_s() -> float | None:
    """Return the time after which the service manager misses us, seconds; None: it does not watch this process."""
    given, pid = os.environ.get(WATCHDOG_US, ""), os.environ.get(WATCHDOG_PID, "")
    if not given.isdecimal() or not int(given) or (pid and pid != str(os.getpid())):
        return None
    return int(given) / 1e6


class ServiceManager:
    """Tell the service manager of one recording."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion

    async def run(self) -> None:
        """Say that it is ready, then what it does and that it lives, until cancelled; end if nobody listens."""
        if SOCKET not in os.environ:
            return
        watched_s = watchdog_s()
        every_s = min(SAY_S, watched_s / SHARE if watched_s else SAY_S)
        alive = ["WATCHDOG=1"] if watched_s else []
        tell("READY=1", self._status(), *alive)
        while True:
            await asyncio.sleep(every_s)
            tell(self._status(), *alive)

    def _status(self) -> str:
        found = health(self._ingestion)
        ticks = sum(stream.consumer.counts.ticks for stream in self._ingestion.streams)
        text = f"{found['status']}: {len(self._ingestion.keys):,} keys, {ticks:,} ticks committed"
        said = "; ".join([text, *found["problems"], *found["warnings"]])
        return f"STATUS={' '.join(said.split())[:STATUS_CHARS_MAX]}"
