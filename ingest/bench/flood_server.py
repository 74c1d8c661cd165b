"""Blaster: a feed that sends a recording's frames as fast as the socket takes them, for benches.

Unlike the simulator it does no work per frame, so that a bench measures the ingester. Runs as a process:
`python -m ingest.bench.flood_server RECORDING` prints its URL, serves one client and exits.
"""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from ingest.journal.recording import read_recording
from ingest.upstox.rest import AUTHORIZE_PATH


async def blast(payloads: list[bytes]) -> None:
    """Serve one client: authorise it, wait for its subscription, send everything, wait until it leaves."""
    done = asyncio.Event()

    async def feed(connection: ServerConnection) -> None:
        await connection.recv()
        for payload in payloads:
            await connection.send(payload)
        await connection.wait_closed()
        done.set()

    def authorize(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != AUTHORIZE_PATH:
            return None if request.path == "/feed" else connection.respond(HTTPStatus.NOT_FOUND, "")
        uri = f"ws://{request.headers['Host']}/feed"
        response = connection.respond(HTTPStatus.OK, json.dumps({"data": {"authorized_redirect_uri": uri}}))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async with serve(feed, "127.0.0.1", 0, process_request=authorize, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)
        await done.wait()


def main() -> None:
    """Run the command line."""
    payloads = [frame.payload for frame in read_recording(Path(sys.argv[1]))]
    asyncio.run(blast(payloads))


if __name__ == "__main__":
    main()
