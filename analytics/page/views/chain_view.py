"""The option chain around the money in one browser."""

from __future__ import annotations

import time

from analytics.page.board import Board
from analytics.page.chain import Expiry
from analytics.page.parts.data_table import Column, DataTable
from analytics.page.parts.elements import Choice, Text, element

# Of the calls, from the outside to the strike; the puts mirror them.
_GREEKS: list[Column] = [
    {"name": "vega", "label": "vega", "kind": "number", "places": 2},
    {"name": "theta", "label": "theta", "kind": "number", "places": 2},
    {"name": "gamma", "label": "gamma", "kind": "number", "places": 4},
    {"name": "volume", "label": "volume", "kind": "short"},
]
_FIRST: list[Column] = [
    {"name": "delta", "label": "delta", "kind": "number", "places": 2},
    {"name": "iv", "label": "IV %", "kind": "number", "places": 1},
    {"name": "oi", "label": "OI", "kind": "short"},
    {"name": "ltp", "label": "last", "kind": "number", "places": 2},
]
AGAIN_S = 5.0  # while the database is away, or no option has ticked
FEW, ALL = "OI, IV, delta", "all greeks, volume"


def _columns(side: list[Column]) -> list[Column]:
    calls: list[Column] = [
        {**column, "name": f"call_{column['name']}", "label": f"Call {column['label']}"} for column in side
    ]
    puts: list[Column] = [
        {**column, "name": f"put_{column['name']}", "label": f"Put {column['label']}"} for column in reversed(side)
    ]
    return [*calls, {"name": "strike", "label": "Strike", "kind": "number", "places": 0, "css": "strike"}, *puts]


class ChainView:
    """Calls and puts of the strikes around the money."""

    def __init__(self, board: Board, viewer: str) -> None:
        self._board, self._viewer = board, viewer
        self._asked: Expiry | None = None
        self._again_s = 0.0  # when to look again for chains, monotonic
        with element("div", "tools"):
            self._underlyings = Choice("Underlying", self._choose_underlying)
            self._days = Choice("Expiry", self._choose_expiry)
            self._width = Choice("Columns", self._choose_columns)
            self._width.offer([(FEW, FEW), (ALL, ALL)], FEW)
            self._spot = Text("span", css="value")
        self._table = DataTable(
            _columns(_FIRST),
            caption="Option chain around the money, calls on the left, puts on the right",
            empty="no options were recorded in this session: TICKLINE_UNDERLYINGS records chains",
            head=len(_FIRST),
        )

    async def open(self) -> None:
        """Start to read the chain."""
        self._again_s = time.monotonic() + AGAIN_S
        found = await self._board.chains_there_are()
        if found and self._asked not in found:
            self._asked = found[0]
        await self._show()

    def close(self) -> None:
        """End the reading."""
        self._board.look_at_chain(self._viewer, None)

    async def _choose_underlying(self, key: str) -> None:
        self._asked = next((one for one in self._board.expiries if one.underlying_key == key), self._asked)
        await self._show()

    async def _choose_expiry(self, day: str) -> None:
        of_this = [
            one for one in self._board.expiries if self._asked and one.underlying_key == self._asked.underlying_key
        ]
        self._asked = next((one for one in of_this if one.expiry.isoformat() == day), self._asked)
        await self._show()

    async def _choose_columns(self, wanted: str) -> None:
        side = _FIRST if wanted == FEW else _GREEKS + _FIRST
        self._table.arrange(_columns(side), head=len(side))

    async def _show(self) -> None:
        asked = self._asked
        if asked is None:
            return
        names = {one.underlying_key: one.underlying for one in self._board.expiries}
        self._underlyings.offer(list(names.items()), asked.underlying_key)
        days = [one.expiry for one in self._board.expiries if one.underlying_key == asked.underlying_key]
        self._days.offer([(day.isoformat(), f"{day:%d %b %Y}") for day in days], asked.expiry.isoformat())
        self._board.look_at_chain(self._viewer, asked)
        await self._board.chain_now(asked)
        self._send()

    async def refresh(self) -> None:
        """Send the chain if it changed; look again for chains while there is none."""
        if self._asked is None and time.monotonic() >= self._again_s:
            await self.open()
        self._send()

    def _send(self) -> None:
        if self._asked is None:
            return
        self._table.show([_shown(row) for row in self._board.chains.get(self._asked, [])])
        spot = self._board.watch.row(self._asked.underlying_key)
        self._spot.say(f"spot {spot['price']:,.2f}" if spot and spot["price"] else "", "value")


def _shown(row: dict[str, object]) -> dict[str, object]:
    """Return a row with implied volatilities in percent."""
    percent = {name: None if row[name] is None else 100 * float(str(row[name])) for name in ("call_iv", "put_iv")}
    return row | percent | {"name": str(row["key"])}
