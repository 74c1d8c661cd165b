"""Clients of the event stream as a process: each reads 50 keys, but the first, which never reads.

python -m tests.perf.stream_clients PORT KEYS_FILE COUNTS_FILE
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import quote

CLIENTS, KEYS_EACH = 20, 50


async def listen(number: int, port: int, keys: list[str], counts: dict[str, int]) -> None:
    query = "&".join(f"key={quote(keys[(number * KEYS_EACH + place) % len(keys)])}" for place in range(KEYS_EACH))
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.2)
    writer.write(f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    if number == 0:
        await asyncio.Event().wait()
    while data := await reader.read(2**16):
        counts["bytes"] += len(data)
        counts["missed"] += data.count(b"event: missed")
    counts["ended"] += 1


async def main(port: int, keys: list[str], counts_file: Path) -> None:
    counts = {"bytes": 0, "missed": 0, "ended": 0}
    listening = [asyncio.create_task(listen(number, port, keys, counts)) for number in range(CLIENTS)]
    while listening:
        await asyncio.sleep(0.5)
        counts_file.write_text(json.dumps(counts))  # noqa: ASYNC240  a few bytes


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])))
