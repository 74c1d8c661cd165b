"""Everything that may look at a recording at once, as a process: clients of the event stream, and a monitor.

Prints what they saw as JSON when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

import analytics
from analytics.event_stream import Tick


class Watchers:
    """Clients with `keys_each` keys each, of which the last one reads nothing after its first bytes."""

    def __init__(self, port: int, token_file: Path, keys: list[str], clients: int, keys_each: int) -> None:
        self.url, self.token_file = f"http://127.0.0.1:{port}", token_file
        self.parts = [[keys[(n * keys_each + i) % len(keys)] for i in range(keys_each)] for n in range(clients)]
        self.ticks = Counter[int]()
        self.begun: dict[int, int] = {}  # client -> seq of its first tick
        self.twice = 0
        self.missed: list[str] = []
        self.scrapes: list[float] = []

    async def run(self) -> dict[str, Any]:
        """Look until standard input ends."""
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        tasks = [asyncio.create_task(self.client(n, keys)) for n, keys in enumerate(self.parts[:-1])]
        tasks += [asyncio.create_task(self.stalled(self.parts[-1])), asyncio.create_task(self.monitor())]
        print("looking", flush=True)
        await ended
        for task in tasks:
            task.cancel()
        failed = [
            repr(one)
            for one in await asyncio.gather(*tasks, return_exceptions=True)
            if type(one) is not asyncio.CancelledError
        ]
        return {
            "clients": [[self.begun[n], self.ticks[n], keys] for n, keys in enumerate(self.parts) if n in self.begun],
            "twice": self.twice,
            "missed": self.missed,
            "scrapes": len(self.scrapes),
            "scrape_ms_max": max(self.scrapes, default=0.0) * 1000,
            "failed": failed,
            "cpu_s": time.process_time(),
        }

    async def client(self, number: int, keys: list[str]) -> None:
        """Read ticks, and count what comes twice or is said to be missed."""
        last: dict[str, int] = {}
        async for event in analytics.stream(keys, kinds=("tick",), url=self.url):
            if not isinstance(event, Tick):
                self.missed.append(str(event))
            elif event.seq is not None:
                self.twice += event.seq <= last.get(event.instrument_key, 0)
                last[event.instrument_key] = event.seq
                self.begun[number] = min(event.seq, self.begun.get(number, event.seq))
                self.ticks[number] += 1

    async def stalled(self, keys: list[str]) -> None:
        """Ask, read the first bytes, and never again."""
        async with aiohttp.ClientSession(read_bufsize=2**10) as session:
            asked = session.get(f"{self.url}/api/v1/stream", params=[("kind", "tick"), *(("key", key) for key in keys)])
            async with asked as answer:
                await answer.content.readany()
                await asyncio.sleep(3_600)

    async def monitor(self) -> None:
        """Scrape the metrics once a second."""
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.monotonic()
                async with session.get(f"{self.url}/metrics") as answer:
                    assert answer.status == 200
                    await answer.read()
                self.scrapes.append(time.monotonic() - began)
                await asyncio.sleep(1)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    watchers = Watchers(asked["port"], Path(asked["token"]), asked["keys"], asked["clients"], asked["keys_each"])
    print(json.dumps(asyncio.run(watchers.run())))
