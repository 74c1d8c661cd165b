"""Spoil: what goes wrong between the market and one client, frame by frame. Pure.

Only live frames are spoilt: `market_info` and snapshots come as they should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_LIVE = b"\x08\x01"  # how a frame begins whose first field, `type`, is live_feed
_UNKNOWN = b"\xc2\x3e"  # tag of field 1000, bytes: a newer schema's, which every reader skips
TEXT = '{"status":"failed","method":"sub","error":"simulated"}'

Message = tuple[bytes | str, int]  # what is sent, and how many updates it holds


@dataclass(slots=True)
class Spoiling:
    """Switches; each is "every so many live frames", 0 never.

    Attributes
    ----------
    drop
        One is not sent: 2 is half the rate.
    repeat
        One is sent twice.
    swap
        One is sent behind the next.
    text
        A text message is sent before one.
    pad
        One is sent with `pad_bytes` of a field that nobody knows.
    """

    drop: int = 0
    repeat: int = 0
    swap: int = 0
    text: int = 0
    pad: int = 0
    pad_bytes: int = 2 * 2**20


class Spoiler:
    """The frames of one client.

    Parameters
    ----------
    switches
        Returns the switches as they are now: they may be turned, or others put in their place, at any time.
    """

    def __init__(self, switches: Callable[[], Spoiling]) -> None:
        self._switches = switches
        self._frames = 0
        self._held: Message | None = None

    def take(self, payload: bytes, updates: int) -> list[Message]:
        """Return what is sent for a frame, in order."""
        if not payload.startswith(_LIVE):
            return [*self._released(), (payload, updates)]
        self._frames += 1
        switches = self._switches()
        if self._is_due(switches.drop):
            return []
        if self._is_due(switches.pad):
            payload += _UNKNOWN + _varint(switches.pad_bytes) + bytes(switches.pad_bytes)
        if self._is_due(switches.swap) and self._held is None:
            self._held = (payload, updates)
            return []
        messages: list[Message] = [(payload, updates)] * (1 + self._is_due(switches.repeat))
        if self._is_due(switches.text):
            messages.insert(0, (TEXT, 0))
        return messages + self._released()

    def _is_due(self, every: int) -> bool:
        return bool(every) and self._frames % every == 0

    def _released(self) -> list[Message]:
        held, self._held = self._held, None
        return [held] if held else []


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
