"""Subscription requests of the feed: JSON, sent as binary messages. Pure.

The vendor silently ignores text messages and answers no request: the snapshots of the keys are the
acknowledgement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Method = Literal["sub", "unsub", "change_mode"]
# Per request, whatever the keys: 2,000 real ones in one message are 34 KB and were accepted; a message that the
# vendor finds too large ends the connection.
REQUEST_BYTES_MAX = 40 * 2**10
AROUND_BYTES = 128  # size of a request without its keys: braces, names, the mode and a guid of 32 characters


def request(method: Method, keys: Sequence[str], *, guid: str, mode: str | None = None) -> bytes:
    """Return one request.

    Parameters
    ----------
    method
        `sub`, `unsub` or `change_mode`.
    keys
        Instrument keys.
    guid
        Any unique text.
    mode
        `ltpc`, `option_greeks`, `full` or `full_d30`; `unsub` needs none.
    """
    data: dict[str, object] = {"instrumentKeys": list(keys)}
    if mode is not None:
        data = {"mode": mode, **data}
    return json.dumps({"guid": guid, "method": method, "data": data}).encode()


def is_market_info(frame: bytes) -> bool:
    """Return whether a frame only reports segment states: its first field, `type`, is `market_info`."""
    return frame.startswith(b"\x08\x02")


class Request(NamedTuple):
    """Content of one request; `unsub` has no mode."""

    method: Method
    mode: str | None
    keys: list[str]


def next_request(asked: Mapping[str, str], wanted: Mapping[str, str], batch_keys: int) -> Request | None:
    """Return the next step from the requested to the wanted keys (both key -> mode); None: there is none.

    Removed keys come first, to make room for new ones. A step is one message: keys beyond `batch_keys`, or beyond
    the size limit of a message, are left to the next step.
    """
    if gone := [key for key in asked if key not in wanted]:
        return Request("unsub", None, _first(gone, batch_keys))
    changed = [key for key, mode in wanted.items() if asked.get(key, mode) != mode]
    keys = changed or [key for key in wanted if key not in asked]
    if not keys:
        return None
    mode = wanted[keys[0]]
    alike = [key for key in keys if wanted[key] == mode]
    return Request("change_mode" if changed else "sub", mode, _first(alike, batch_keys))


def _first(keys: list[str], batch_keys: int) -> list[str]:
    """Return as many of the first keys as fit into one request; at least one."""
    room = REQUEST_BYTES_MAX - AROUND_BYTES
    for number, key in enumerate(keys[:batch_keys]):
        room -= len(json.dumps(key)) + len(", ")
        if room < 0:
            return keys[: max(number, 1)]
    return keys[:batch_keys]
