"""Connection: one client's subscriptions and what waits to be sent to it. No socket inside.

Subscription requests follow the vendor's documented manners (feed document, section 2): no
acknowledgement, no error; what is wrong or beyond a limit is ignored in silence.
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

# Keys of one mode on one connection: when it is the only mode, and beside other modes.
LIMITS_ALONE = {Mode.LTPC: 5000, Mode.OPTION_GREEKS: 3000, Mode.FULL: 2000, Mode.FULL_D30: 50}
LIMITS_COMBINED = {Mode.LTPC: 2000, Mode.OPTION_GREEKS: 2000, Mode.FULL: 1500, Mode.FULL_D30: 1500}

# A client with so much waiting is behind: at full speed the market waits for it. Some hundred frames
# let player and sender take turns of some milliseconds.
BEHIND_FRAMES = 512
BEHIND_BYTES = 2**20
# What may wait for one client at most: ten snapshots of 2,000 keys in mode full.
OUTBOX_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Request:
    """A subscription request that was understood."""

    method: str  # sub, unsub, change_mode
    mode: Mode
    keys: list[str]


def parse_request(data: bytes) -> Request | None:
    """Read a subscription request; None if it is none that the vendor would act on."""
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
    """What the player may do to a client's socket; the server has the rest."""

    def abort(self) -> None:
        """Cut the TCP connection without a word."""


@dataclass(slots=True)
class FrameParts:
    """One market frame with the projections of its updates that some client has needed already."""

    frame: MarketFrame
    first: Collection[str] = ()  # keys whose first update of the play this is
    muted: Collection[str] = ()
    entries: dict[tuple[str, Mode], bytes] = field(default_factory=dict)

    def entry(self, key: str, mode: Mode) -> bytes:
        """Return the map entry of a key in a mode, made once."""
        made = self.entries.get((key, mode))
        if made is None:
            made = self.entries[key, mode] = entry(key, project(self.frame.feeds[key], mode))
        return made


class Connection:
    """One client: which keys in which mode, and the frames that wait for it.

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
        """Take keys into a mode as far as the limits allow; return those taken."""
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
        """Forget keys."""
        for key in keys:
            self.modes.pop(key, None)
            self.primed.discard(key)
        self._note_modes()

    def offer(self, parts: FrameParts) -> None:
        """Put what this client takes of a live frame into the outbox."""
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
        """Put an `initial_feed` of subscribed keys into the outbox, if there is anything to say."""
        if feeds:
            made = [entry(key, project(feed, self.modes[key])) for key, feed in feeds.items()]
            self.put(feed_response(FrameType.INITIAL_FEED, current_ms, made), len(made))

    def put(self, payload: bytes, updates: int = 0) -> None:
        """Put a frame into the outbox; whoever plays the market looks at `is_full` first."""
        self._waiting.append((payload, updates))
        self._waiting_bytes += len(payload)
        self._filled.set()

    async def next_frame(self) -> tuple[bytes, int]:
        """Wait for the next frame to send; return it and how many updates it holds."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting[0]

    def frame_sent(self) -> None:
        """Take the frame that `next_frame` returned out of the outbox."""
        if self._waiting:  # `close` may have come between
            payload, _ = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
        self._moved.set()

    def close(self) -> None:
        """Forget what waits: nobody will take it any more."""
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
        """Wait until no more is left to send than a part of what makes a client count as behind."""
        frames_max, bytes_max = but_part * BEHIND_FRAMES, but_part * BEHIND_BYTES
        while len(self._waiting) > frames_max or self._waiting_bytes > bytes_max:
            self._moved.clear()
            await self._moved.wait()

    def _note_modes(self) -> None:
        self._all_full = all(mode is Mode.FULL for mode in self.modes.values())
