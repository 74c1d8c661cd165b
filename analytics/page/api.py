"""The ingester's HTTP API, as the page asks it: status, health, and the last ticks of some keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from ingest.errors import TicklineError

TIMEOUT_S = 2.0  # an ingester that takes longer is as good as away
ANSWER_BYTES_MAX = 16 * 2**20  # another program may listen there; 25,000 keys take 2 MB
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an ingester on all addresses is asked on loopback
ANSWERED = frozenset({200, 503})  # 503 means unhealthy


class ApiError(TicklineError):
    """The ingester does not answer, or not as expected."""


class Ingester:
    """A client of the API.

    Parameters
    ----------
    host, port
        Address of the API.
    token
        Its token; None: it listens on loopback, where reading needs none.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        name = EVERYWHERE.get(host, host)
        self.place = f"{f'[{name}]' if ':' in name else name}:{port}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(
            f"http://{self.place}", headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self) -> dict[str, Any]:
        """Return the status; raises ApiError."""
        return await self._ask("/api/v1/websocket/status")

    async def health(self) -> dict[str, Any]:
        """Return the health; raises ApiError."""
        return await self._ask("/health")

    async def latest(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the last ticks of some keys, and the number of updates since the start; raises ApiError."""
        # Without a key the API would answer with all of them.
        return await self._ask("/api/v1/websocket/latest-ticks", [("key", key) for key in keys or ("NONE|0",)])

    async def metrics(self) -> str:
        """Return the metrics as text; raises ApiError."""
        status, body = await self._read("/metrics")
        if status != 200:
            raise ApiError(f"the ingester answers {status} for its metrics")
        return body.decode("utf-8", "replace")

    async def _ask(self, path: str, query: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
        status, body = await self._read(path, query)
        try:
            answer = json.loads(body)
            if status in ANSWERED and isinstance(answer, dict):
                return answer
            text = str(answer["error"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ApiError(f"another program answers on {self.place}: correct TICKLINE_API_PORT") from None
        raise ApiError(f"the ingester answers {status}: {text}")

    async def _read(self, path: str, query: Sequence[tuple[str, str]] = ()) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        try:
            async with self._session.get(path, params=query, allow_redirects=False) as response:
                body = await response.content.read(ANSWER_BYTES_MAX)
                while not response.content.at_eof() and len(body) < ANSWER_BYTES_MAX:
                    body += await response.content.read(ANSWER_BYTES_MAX)
                return response.status, body
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise ApiError(
                f"no ingester answers on {self.place}: run `tickline start`, or correct TICKLINE_API_HOST and "
                "TICKLINE_API_PORT"
            ) from exc
