"""Serve the page until stopped: the tasks that keep it current, NiceGUI on FastAPI, and uvicorn.

NiceGUI keeps its application in the module, so one process serves one page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from analytics.page.api import Ingester
from analytics.page.board import Board
from analytics.page.database import Store
from analytics.page.guard import Guard
from analytics.page.view import add_page
from ingest.database.connections import Database
from ingest.errors import ConfigError

RECONNECT_S = 60.0  # a browser that was away this long, such as a phone in a pocket, goes on where it was
HISTORY_MAX = 200  # messages kept for it


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, opened: Callable[[], None]) -> None:
        super().__init__(config)
        self._opened = opened

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, and tell."""
        await super().startup(sockets)
        if self.started:
            self._opened()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command line."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises
    ------
    ConfigError
        If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        raise ConfigError(
            f"page cannot listen on {host!r} port {port}: {exc.strerror or exc}: set TICKLINE_PAGE_PORT or --port"
        ) from exc


async def serve(
    listening: socket.socket,
    host: str,
    *,
    ingester: Callable[[], Ingester],
    database: Database,
    token: str | None,
    opened: Callable[[], None],
) -> None:
    """Serve the page until cancelled.

    Parameters
    ----------
    listening, host
        Socket, and the address that it was opened for.
    ingester
        Makes the client of the API.
    database
        The database, which may be away.
    token
        The API token, which requests must show unless `host` is loopback.
    opened
        Called when the page answers.
    """
    app = FastAPI(openapi_url=None)
    app.add_middleware(Guard, host=host, token=token)
    async with ingester() as client, Store(database) as store:
        board = Board(client, store)
        add_page(board)
        ui.run_with(
            app,
            title="Tickline",
            language="en-GB",
            favicon="📈",
            tailwind=False,
            binding_refresh_interval=None,
            reconnect_timeout=RECONNECT_S,
            message_history_length=HISTORY_MAX,
            show_welcome_message=False,
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=1, ws="websockets-sansio"
        )
        tending = asyncio.create_task(board.run())
        server = _Server(config, opened)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            await asyncio.wait({tending, serving}, return_when=asyncio.FIRST_COMPLETED)
            if tending.done():
                tending.result()
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=3)
            tending.cancel()
            await asyncio.wait({tending})
