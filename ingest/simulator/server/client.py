"""One client: its subscriptions, and the frames waiting to be sent to it. No socket inside.

Subscription requests behave as the vendor documents (feed document, section 2): no acknowledgement
and no error; invalid requests and keys beyond a limit are silently ignored.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingest.model.frames import MODE_NAMES, FrameType, Mode
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.frame_bytes import entry, feed_response, project
from ingest.simulator.source import MarketFrame

# Keys of one mode on one connection: when it is the only mode, and together with other modes.
LIMITS_ALONE = {Mode.LTPC: 5000, Mode.OPTION_GREEKS: 3000, Mode.FULL: 2000, Mode.FULL_D30: 50}
LIMITS_COMBINED = {Mode.LTPC: 2000, Mode.OPTION_GREEKS: 2000, Mode.FULL: 1500, Mode.FULL_D30: 1500}

# A client with this much waiting is behind: at full speed the market waits for it. A few hundred frames
# let player and sender take turns of some milliseconds.
BEHIND_FRAMES = 512
BEHIND_BYTES = 2**20
# Most that may wait for one client: ten snapshots of 2,000 keys in mode full.
OUTBOX_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Request:
    """A valid subscription request."""

    method: str  # sub, unsub, change_mode
    mode: Mode
    keys: list[str]


def parse_request(data: bytes) -> Request | None:
    """Parse a subscription request; return None if the vendor would not act on it."""
    try:
        document: Any = json.loads(data)
        method, body = document["method"], document["data"]
        mode = MODE_NAMES[body.get("mode") or "ltpc"]
        keys = body["instrumentKeys"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if method not in ("sub", "unsub", "change_mode") or not isinstance(keys, list):
        return None
    return Request(method, mode, [key for key in keys if isinstance(key, str)])


class Socket(Protocol):
    """What the player may do with a client's socket; the server does the rest."""

    def abort(self) -> None:
        """Cut the TCP connection without a close frame."""


@dataclass(slots=True)
class FrameParts:
    """One market frame, with the projections of its updates that clients have needed so far."""

    frame: MarketFrame
    first: Collection[str] = ()  # keys whose first update this is
    muted: Collection[str] = ()
    entries: dict[tuple[str, Mode], bytes] = field(default_factory=dict)

    def entry(self, key: str, mode: Mode) -> bytes:
        """Return the map entry of a key in a mode, built once."""
        made = self.entries.get((key, mode))
        if made is None:
            made = self.entries[key, mode] = entry(key, project(self.frame.feeds[key], mode))
        return made


class ClientConnection:
    """One client: its keys and modes, and the frames waiting for it.

    Attributes
    ----------
    modes
        Mode of each subscribed key.
    primed
        Keys whose first update was sent as their snapshot, before the market began.
    """

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.modes: dict[str, Mode] = {}
        self.primed: set[str] = set()
        self._all_full = True
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._moved = asyncio.Event()

    def subscribe(self, keys: Iterable[str], mode: Mode) -> list[str]:
        """Subscribe keys in a mode as far as the limits allow; return those accepted."""
        taken = []
        counts = Counter(self.modes.values())
        for key in dict.fromkeys(keys):
            before = self.modes.get(key)
            if before is not mode:
                others = len(self.modes) - counts[mode] - (before is not None)
                if counts[mode] >= (LIMITS_COMBINED if others else LIMITS_ALONE)[mode]:
                    continue
                counts[mode] += 1
                if before is not None:
                    counts[before] -= 1
                self.modes[key] = mode
            taken.append(key)
        self._note_modes()
        return taken

    def unsubscribe(self, keys: Iterable[str]) -> None:
        """Unsubscribe keys."""
        for key in keys:
            self.modes.pop(key, None)
            self.primed.discard(key)
        self._note_modes()

    def offer(self, parts: FrameParts) -> None:
        """Add the client's part of a live frame to the outbox."""
        frame, modes = parts.frame, self.modes
        wanted = [key for key in frame.feeds if key in modes and key not in parts.muted]
        if parts.first and self.primed:
            wanted = [key for key in wanted if not (key in parts.first and key in self.primed)]
        if not wanted:
            return
        if frame.payload is not None and self._all_full and len(wanted) == len(frame.feeds):
            payload = frame.payload
        else:
            made = [parts.entry(key, modes[key]) for key in wanted]
            payload = feed_response(FrameType.LIVE_FEED, frame.current_ms, made)
        self.put(payload, len(wanted))

    def send_snapshot(self, current_ms: int, feeds: Mapping[str, pb.Feed]) -> None:
        """Add an `initial_feed` of subscribed keys to the outbox, if there is any data."""
        if feeds:
            made = [entry(key, project(feed, self.modes[key])) for key, feed in feeds.items()]
            self.put(feed_response(FrameType.INITIAL_FEED, current_ms, made), len(made))

    def put(self, payload: bytes, updates: int = 0) -> None:
        """Add a frame to the outbox; the caller checks `is_full` first."""
        self._waiting.append((payload, updates))
        self._waiting_bytes += len(payload)
        self._filled.set()

    async def next_frame(self) -> tuple[bytes, int]:
        """Wait for the next frame to send; return it and its number of updates."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting[0]

    def frame_sent(self) -> None:
        """Remove the frame returned by `next_frame` from the outbox."""
        if self._waiting:  # `close` may have been called in between
            payload, _ = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
        self._moved.set()

    def close(self) -> None:
        """Drop the outbox, which nobody will read now."""
        self.modes.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        self._moved.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def is_behind(self) -> bool:
        """Whether a market that can wait should wait for this client."""
        return len(self._waiting) >= BEHIND_FRAMES or self._waiting_bytes >= BEHIND_BYTES

    @property
    def is_full(self) -> bool:
        """Whether the client is too far behind to be given more."""
        return self._waiting_bytes >= OUTBOX_BYTES_MAX

    async def wait_until_sent(self, *, but_part: float = 0.0) -> None:
        """Wait until no more is left to send than a fraction of the amount at which a client counts as behind."""
        frames_max, bytes_max = but_part * BEHIND_FRAMES, but_part * BEHIND_BYTES
        while len(self._waiting) > frames_max or self._waiting_bytes > bytes_max:
            self._moved.clear()
            await self._moved.wait()

    def _note_modes(self) -> None:
        self._all_full = all(mode is Mode.FULL for mode in self.modes.values())
