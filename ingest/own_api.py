"""Ask the ingester that runs on this machine, over its HTTP API; for commands that show its state.

Owns the request and its errors. Must not know what an answer means.
"""

from __future__ import annotations

import http.client
import json
from typing import Any

from ingest.errors import NoIngesterError, TicklineError

TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 64 * 2**20  # another program may listen there; 25,000 keys take 5 MB
ANSWERED = frozenset({200, 503})  # 503 means unhealthy
NOT_FOUND = 404
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  an ingester on all addresses is asked on loopback
STATUS = "/api/v1/websocket/status"
SUBSCRIPTIONS = "/api/v1/websocket/subscriptions"
TICKS = "/api/v1/websocket/latest-ticks"
WRITER = "/api/v1/writer"  # of `tickline write`
RETRY = "/api/v1/websocket/retry"
HEALTH = "/health"


class NotServedError(TicklineError):
    """What answers is one of ours, but not the one that is asked: a recorder, or a writer."""


class OwnApi:
    """The HTTP API of the ingester at an address.

    Parameters
    ----------
    host, port
        Where it listens: TICKLINE_API_HOST, TICKLINE_API_PORT.
    token
        Sent if given; reading on loopback needs none.
    """

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self._host, self._port, self._token = EVERYWHERE.get(host, host), port, token

    def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        """Return the answer to a request.

        Raises
        ------
        NoIngesterError
            If nothing answers.
        NotServedError
            If a writer is asked what only a recorder knows, or the other way round.
        TicklineError
            If the ingester refuses, or another program answers.
        """
        try:
            return self._asked(path, method)
        except OSError as exc:
            raise NoIngesterError(
                f"no ingester answers on port {self._port}: run `tickline start`, or set TICKLINE_API_PORT"
            ) from exc
        except (http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise self.foreign() from exc

    def foreign(self) -> TicklineError:
        """Return the error for an answer that no ingester gives."""
        return TicklineError(f"another program answers on port {self._port}: set TICKLINE_API_PORT")

    def _asked(self, path: str, method: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES_MAX)
            answer: dict[str, Any] = json.loads(body)
        finally:
            connection.close()
        if response.status == NOT_FOUND and answer["error"].startswith("Not Found: "):
            raise NotServedError(
                f"what runs on port {self._port} does not serve {path!r}: `tickline status` shows what it is"
            )
        if response.status not in ANSWERED:
            raise TicklineError(f"the ingester answers {response.status}: {answer['error']}")
        if not isinstance(answer, dict):
            raise TypeError("no object")
        return answer
