"""The port of the HTTP API: open from the start; the API itself is loaded when somebody first connects.

It takes 6 MB and a tenth of a second of CPU, and many recorders are never asked. It is loaded on a thread, so that
frames only share the CPU with it.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.errors import ConfigError
from ingest.live.access import Tokens, made_tokens
from ingest.live.broadcast.hub import Hub
from ingest.live.ingestion import Ingestion
from ingest.settings import Settings

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

PORT_RETRY_S = 15.0  # how often to retry a port that another program holds, perhaps the last run


async def serve(settings: Settings, load: Callable[[Tokens], uvicorn.Server]) -> None:
    """Serve until cancelled; while the address is not available, log it once and retry. It never costs ticks.

    Without a token, after a warning, nothing is served.

    Parameters
    ----------
    settings
        Where, and the home with the token.
    load
        Returns the server for its tokens; called on a thread when somebody first connects.
    """
    host, port = settings.api_host, settings.api_port
    try:
        tokens = made_tokens(settings.home)
    except ConfigError as exc:
        log.warning("status is not served: %s", exc)
        return
    said = False
    while (listening := _listening(host, port, said=said)) is None:
        said = True
        await asyncio.sleep(PORT_RETRY_S)
    with listening:
        log.info("status is served url=http://%s:%d", f"[{host}]" if ":" in host else host, port)
        await _connection(listening)
        server = await asyncio.to_thread(load, tokens)
        try:
            await server.serve(sockets=[listening])
        finally:  # the loop must stop watching the descriptor before it is closed and reused
            for one in server.servers:
                one.close()
            for connection in list(server.server_state.connections):  # a client that stays would ask what is no longer
                connection.shutdown()


async def _connection(listening: socket.socket) -> None:
    """Wait until somebody connects; the connection stays in the socket's queue."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listening, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listening)


def recording_api(ingestion: Ingestion, hub: Hub, tokens: Tokens) -> uvicorn.Server:
    """Return the server of a recording's API."""
    server: uvicorn.Server = importlib.import_module("ingest.live.http.api").prepare(ingestion, hub, tokens)
    return server


def _listening(host: str, port: int, *, said: bool) -> socket.socket | None:
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections inherit it. Without, the body of an answer waits until the client has confirmed the head: 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, UnicodeError) as exc:  # UnicodeError: the host is not a valid name
        in_use = isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE
        log.log(
            logging.DEBUG if said else logging.WARNING,
            "status is not served, trying again in_s=%g: port %d of %s %s: set %s",
            PORT_RETRY_S,
            port,
            host,
            "is in use" if in_use else f"is not available ({getattr(exc, 'strerror', None) or 'not a valid host'})",
            "TICKLINE_API_PORT to another, or to 0" if in_use else "TICKLINE_API_HOST to an address of this machine",
        )
        return None
