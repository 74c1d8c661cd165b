"""Keys through the broker: what a collector says of its keys, and which it gets, where its server is not reached.

A request on `tick-universe.<collector>` and its answer are JSON, compressed: the keys of a Plus account are 1 MB, and a
broker takes messages of that size or less.

    {"known": digest}              what the collector says, as `GET /universe` does
    {"keys", "database"}           the keys that it records from now on, as `PUT /universe` does
    answer {"status", "error"}     it refuses
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ingest.errors import JournalError
from ingest.transport.assignment import KEYS_BYTES_MAX, TAKE_S, Assignee, Standing, take_given
from ingest.transport.broker.blocks import universe_subject
from ingest.transport.broker.link import BrokerSettings, Link, translated
from ingest.transport.segments import UnreachableError

ANSWER_S = 3.0
LEVEL = 1  # keys become a fifth
REFUSED = (409, 422)


async def answered(assignee: Assignee, data: bytes) -> bytes:
    """Return a collector's answer to a request."""
    try:
        asked = _unpacked(data)
        if "known" in asked:
            return _packed(asdict(assignee.standing(str(asked["known"])[:64])))
    except (ValueError, TypeError, LookupError, zlib.error):
        return _packed({"status": 422, "error": "the request is no compressed JSON"})
    status, error = await take_given(assignee, asked)
    return _packed({"status": status, "error": error} if error else {})


class KeysThroughBroker:
    """A collector that is given keys through the broker; see `KeyTaker`.

    Parameters
    ----------
    settings
        The broker.
    collector
        Its name.
    """

    tells = True

    def __init__(self, settings: BrokerSettings, collector: str) -> None:
        self.name = f"nats:{collector}"
        self._collector = collector
        self._link = Link(settings, f"keys of {collector}")

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def standing(self, known: str) -> Standing:
        """Return what the collector says of its keys. Raises UnreachableError."""
        found = await self._asked({"known": known}, ANSWER_S)
        try:
            return Standing.from_json(found)
        except (ValueError, TypeError, LookupError, AttributeError) as exc:
            raise UnreachableError(f"collector {self._collector!r} does not say what it records") from exc

    async def assign(self, keys: Mapping[str, str], database: str) -> None:
        """Give it the keys that it records from now on. Raises UnreachableError, or JournalError if it says no."""
        found = await self._asked({"keys": dict(keys), "database": database}, TAKE_S)
        if error := found.get("error"):
            text = f"collector {self._collector!r} refuses: {str(error)[:300]}"
            raise JournalError(text) if found.get("status") in REFUSED else UnreachableError(text)

    async def _asked(self, request: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        client = await self._link.client()
        try:
            with translated():
                answer = await client.request(universe_subject(self._collector), _packed(request), timeout=within_s)
            return _unpacked(answer.data)
        except (ValueError, zlib.error) as exc:
            raise UnreachableError(f"collector {self._collector!r} answers no compressed JSON") from exc


def _packed(values: Mapping[str, Any]) -> bytes:
    return zlib.compress(json.dumps(values, separators=(",", ":")).encode(), LEVEL)


def _unpacked(data: bytes) -> dict[str, Any]:
    """Return the values of a message. Raises ValueError or zlib.error, also if it is too long."""
    unpacking = zlib.decompressobj()
    found = json.loads(unpacking.decompress(data, KEYS_BYTES_MAX))
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found
