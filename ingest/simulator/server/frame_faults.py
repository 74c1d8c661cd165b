"""Apply faults to the frames of one client, one by one. Pure.

Only live frames are changed: `market_info` and snapshots arrive intact, with a clock that may be off.
"""

from __future__ import annotations

import random

from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.faults import Faults
from ingest.simulator.server.frame_bytes import varint
from ingest.simulator.server.odd_data import frame_of_unknown_keys, poisonous_update

_LIVE = b"\x08\x01"  # start of a frame whose first field, `type`, is live_feed
_UNKNOWN = b"\xc2\x3e"  # tag of field 1000, bytes: as of a newer schema, skipped by every reader
_CURRENT_TS = b"\x18"  # if there are two, the last one counts
TEXT = '{"status":"failed","method":"sub","error":"simulated"}'

Message = tuple[bytes | str, int]  # what is sent, and its number of updates


class Spoiler:
    """The frames of one client.

    Parameters
    ----------
    faults
        The switches; they may change at any time.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._rng = random.Random(faults.seed)
        self._frames = 0
        self._held: Message | None = None

    def take(self, payload: bytes, updates: int) -> list[Message]:
        """Return what is sent in place of a frame, in order."""
        faults, live = self._faults, payload.startswith(_LIVE)
        if faults.clock_off_s:
            payload += _CURRENT_TS + varint(max(0, _current_ms(payload) + round(faults.clock_off_s * 1000)))
        if not live:
            return [*self._released(), (payload, updates)]
        self._frames += 1
        if self._is_due(faults.skip_every):
            return []
        before: list[Message] = []
        if self._is_due(faults.crowd_every):
            before.append((frame_of_unknown_keys(_current_ms(payload)), 0))
        if self._is_due(faults.text_every):
            before.append((TEXT, 0))
        payload, updates = self._altered(payload, updates)
        if self._is_due(faults.swap_every) and self._held is None:
            self._held = (payload, updates)
            return before
        return before + [(payload, updates)] * (1 + self._is_due(faults.repeat_every)) + self._released()

    def _altered(self, payload: bytes, updates: int) -> tuple[bytes, int]:
        faults = self._faults
        if self._is_due(faults.poison_every):
            payload += poisonous_update(self._frames // faults.poison_every - 1)
        if self._is_due(faults.huge_every):
            payload += _UNKNOWN + varint(faults.huge_bytes) + bytes(faults.huge_bytes)
        if self._is_due(faults.truncate_every):
            return payload[: self._rng.randrange(1, len(payload))], 0
        return payload, updates

    def _is_due(self, every: int) -> bool:
        return bool(every) and self._frames % every == 0

    def _released(self) -> list[Message]:
        held, self._held = self._held, None
        return [held] if held else []


def _current_ms(payload: bytes) -> int:
    return int(pb.FeedResponse.FromString(payload).currentTs)
