"""The newest signals in one browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from analytics.market_time import MARKET_ZONE
from analytics.page.board import Board
from analytics.page.parts.data_table import Column, DataTable

COLUMNS: list[Column] = [
    {"name": "name", "label": "Instrument", "kind": "text", "sortable": True},
    {"name": "at", "label": "IST", "kind": "text", "sortable": True},
    {"name": "way", "label": "Direction", "kind": "text", "sortable": True},
    {"name": "confidence", "label": "Confidence", "kind": "number", "places": 2, "sortable": True},
    {"name": "severity", "label": "Severity", "kind": "text", "sortable": True},
    {"name": "members", "label": "Members", "kind": "text", "css": "wide-words"},
    {"name": "reason", "label": "Reasons", "kind": "text", "css": "wide-words"},
    {"name": "price", "label": "Price", "kind": "number", "places": 2},
    {"name": "m5", "label": "After 5 min", "kind": "change"},
    {"name": "m15", "label": "15 min", "kind": "change"},
    {"name": "m60", "label": "60 min", "kind": "change"},
]
NAMED_MAX = 3  # members that are named; an event of an index may have dozens


class SignalsView:
    """What spike detection found, newest first."""

    def __init__(self, board: Board, on_choose: Callable[[str], Awaitable[None]]) -> None:
        self._board = board

        async def choose(row_key: str) -> None:
            instrument = row_key.partition(" ")[0]
            keys = {str(instrument_id): key for key, instrument_id in board.watch.ids.items()}
            if instrument in keys:
                await on_choose(keys[instrument])

        self._table = DataTable(
            COLUMNS,
            caption="Signals, newest first, with their reasons and what followed",
            empty="no signal is stored: `tickline spikes --follow` finds spikes while the market runs",
            search="Find signals of an instrument",
            on_choose=choose,
        )

    def refresh(self) -> None:
        """Send the signals if they changed."""
        self._table.show([_shown(row) for row in self._board.signals])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    after = {name: None if row[name] is None else 100 * row[name] for name in ("m5", "m15", "m60")}
    return {
        "key": f"{row['id']} {row['bucket'].timestamp():.0f} {row['rules']}",
        "name": row["name"],
        "at": f"{row['bucket'].astimezone(MARKET_ZONE):%d %b %H:%M}",
        "way": "▲ up" if row["direction"] == "up" else "▼ down",
        "confidence": row["confidence"],
        "severity": row["severity"] or "",
        "members": _members(row),
        "price": row["price"],
        "reason": row["reason"] or "",
    } | after


def _members(row: dict[str, Any]) -> str:
    """Return how many instruments fired with a signal, and the first of them by name."""
    if not row["members"]:
        return ""
    names = row["member_names"].split(", ")
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return f"{row['members']}: {', '.join(names[:NAMED_MAX])}{more}"
