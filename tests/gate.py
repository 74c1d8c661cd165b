"""A gate before a TCP server of this machine: it lets connections through, or cuts them and lets nobody in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self


class Gate:
    """Carries connections to a port of 127.0.0.1 while it is open.

    Attributes
    ----------
    port
        Where clients connect.
    passed
        Number of connections that were let through.
    """

    def __init__(self, port: int) -> None:
        self._to, self.port, self.passed = port, 0, 0
        self._is_open = True
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._server.close()

    def open(self) -> None:
        self._is_open = True

    def close(self) -> None:
        """Cut all connections, wherever they are, and refuse new ones."""
        self._is_open = False
        for end in list(self._ends):
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        self.passed += 1
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._ends |= {writer, to_writer}
        with suppress(OSError):
            await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))
        for end in (writer, to_writer):
            self._ends.discard(end)
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**12):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()
