"""Connections, segments, silent instruments and gaps in one browser."""

from __future__ import annotations

from typing import Any

from analytics.market_time import MARKET_ZONE
from analytics.page.board import Board
from analytics.page.judgement import connections, seconds, segments
from analytics.page.parts.data_table import Column, DataTable
from analytics.page.parts.elements import Text

CONNECTIONS: list[Column] = [
    {"name": "name", "label": "Connection", "kind": "text"},
    {"name": "state", "label": "State", "kind": "state"},
    {"name": "keys", "label": "Instruments", "kind": "number"},
    {"name": "rate", "label": "Frames/s", "kind": "number", "places": 1},
    {"name": "usual", "label": "usually", "kind": "number", "places": 1},
    {"name": "age", "label": "Last frame ago", "kind": "text"},
    {"name": "reconnects", "label": "Reconnects", "kind": "number"},
    {"name": "error", "label": "Last error", "kind": "text", "css": "wide-words"},
]
SEGMENTS: list[Column] = [
    {"name": "name", "label": "Segment", "kind": "text"},
    {"name": "state", "label": "State", "kind": "state"},
    {"name": "market", "label": "Market", "kind": "text"},
    {"name": "keys", "label": "Instruments", "kind": "number"},
    {"name": "silent", "label": "Silent", "kind": "number"},
    {"name": "failed", "label": "Not answered", "kind": "number"},
]
QUIET: list[Column] = [
    {"name": "name", "label": "Instrument", "kind": "text", "sortable": True},
    {"name": "instrument_key", "label": "Key", "kind": "text"},
    {"name": "state", "label": "State", "kind": "state", "sortable": True},
]
GAPS: list[Column] = [
    {"name": "name", "label": "What", "kind": "text"},
    {"name": "started", "label": "From (IST)", "kind": "text"},
    {"name": "lasted", "label": "Lasted", "kind": "text"},
    {"name": "volume", "label": "Volume in it", "kind": "number"},
    {"name": "instruments", "label": "Instruments", "kind": "number"},
    {"name": "state", "label": "Repair", "kind": "state"},
    {"name": "reason", "label": "Reason", "kind": "text", "css": "wide-words"},
]


class FeedView:
    """Whether everything flows, in detail."""

    def __init__(self, board: Board) -> None:
        self._board = board
        unknown = self._unknown = "not known: the ingester does not answer"
        Text("h3", "Connections")
        self._connections = DataTable(CONNECTIONS, caption="Connections of the feed", empty=unknown)
        Text("h3", "Segments")
        self._segments = DataTable(SEGMENTS, caption="Segments of the market", empty=unknown)
        Text("h3", "Silent instruments")
        self._quiet = DataTable(QUIET, caption="Instruments that are silent or not answered", empty=unknown)
        Text("h3", "Gaps of this session")
        self._gaps = DataTable(GAPS, caption="When the feed was not received, and whether it is repaired", empty="none")

    def refresh(self, now_s: float) -> None:
        """Send what changed; `now_s`: monotonic seconds."""
        board = self._board
        self._connections.show(connections(board.seen, now_s))
        self._segments.show(segments(board.seen))
        quiet = [row for row in board.watch.rows() if row["state"] is not None] if not board.seen.api_error else []
        self._quiet.say(self._unknown if board.seen.api_error else "none")
        self._quiet.show([row | {"instrument_key": row["key"]} for row in quiet])
        self._gaps.show([_gap(place, row) for place, row in enumerate(board.gaps)])


def _gap(place: int, row: dict[str, Any]) -> dict[str, Any]:
    started, ended = row["started"], row["ended"]
    if row["repaired_at"] is not None:
        state = {"level": "ok", "words": "repaired"}
    else:
        state = {"level": "warning", "words": "lasts" if ended is None else "not repaired yet"}
    return {
        "key": f"{place} {started.isoformat()}",
        "name": "before recording" if row["connection"] is None else f"connection {row['connection']}",
        "instruments": row["instruments"],
        "started": f"{started.astimezone(MARKET_ZONE):%d %b %H:%M:%S}",
        "lasted": "-" if ended is None else seconds((ended - started).total_seconds()),
        "volume": row["volume"],
        "state": state,
        "reason": row["reason"],
    }
