"""The watch list in one browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from analytics.page.board import Board
from analytics.page.parts.data_table import Column, DataTable

COLUMNS: list[Column] = [
    {"name": "name", "label": "Instrument", "kind": "text", "sortable": True},
    {"name": "price", "label": "Last", "kind": "number", "places": 2, "sortable": True},
    {"name": "change", "label": "Change", "kind": "change", "sortable": True},
    {"name": "spark", "label": "60 min", "kind": "spark"},
    {"name": "volume", "label": "Volume", "kind": "short", "sortable": True},
    {"name": "spikes", "label": "Spikes", "kind": "number", "sortable": True},
]


class WatchView:
    """All instruments; those in view are asked for each second."""

    def __init__(self, board: Board, viewer: str, on_choose: Callable[[str], Awaitable[None]]) -> None:
        self._board, self._viewer = board, viewer
        self._version, self._generation = board.watch.version, board.watch.generation

        async def view(keys: list[str]) -> None:
            board.look_at(viewer, keys)
            await board.sparks_now()

        self._table = DataTable(
            COLUMNS,
            caption="Watch list: last price, change on the previous close, volume and spikes of each instrument",
            empty="no instrument has ticked yet: `tickline start` records some",
            search="Find an instrument",
            on_choose=on_choose,
            on_view=view,
        )
        self._table.show(board.watch.rows())

    def refresh(self) -> None:
        """Send the rows that changed."""
        watch = self._board.watch
        if watch.generation != self._generation:
            self._table.show(watch.rows())
        else:
            self._table.patch(watch.changed_since(self._version))
        self._version, self._generation = watch.version, watch.generation

    def choose(self, key: str) -> None:
        """Mark the instrument whose chart is shown."""
        self._table.choose(key)
