"""Subscription requests of the feed: JSON, to be sent as binary messages. Pure.

The vendor ignores a text message without a word, and answers no request: the acknowledgement
is the snapshot of the keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

Method = Literal["sub", "unsub", "change_mode"]


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


def batches(keys: Sequence[str], batch_keys: int) -> Iterator[Sequence[str]]:
    """Cut keys into the lists of one request each."""
    for start in range(0, len(keys), batch_keys):
        yield keys[start : start + batch_keys]


def requests(wanted: Mapping[str, str], batch_keys: int) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the mode and the keys of one request each, of keys -> modes: a request has one mode."""
    for mode in dict.fromkeys(wanted.values()):
        keys = [key for key, its_mode in wanted.items() if its_mode == mode]
        for batch in batches(keys, batch_keys):
            yield mode, batch
