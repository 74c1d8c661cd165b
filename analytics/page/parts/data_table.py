"""A table that a browser sorts, searches and pages by itself; the server sends rows once, then those that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from nicegui import ui
from nicegui.events import GenericEventArguments


class Column(TypedDict, total=False):
    """A column.

    Attributes
    ----------
    name, label
        Of the field in a row, and of the head.
    kind
        text, number, short (a number of few digits), change (percent), state (level and words) or spark (numbers).
    places
        Digits after the point of a number.
    sortable
        Whether a click on the head sorts by it.
    css
        Class of its cells.
    """

    name: str
    label: str
    kind: str
    places: int
    sortable: bool
    css: str


class DataTable(ui.element, component="data_table.js"):
    """A table of rows with a `key` and a `name`.

    Parameters
    ----------
    columns
        Of the table.
    caption
        What it shows, for those who cannot see it.
    empty
        What it says without rows.
    search
        Label of its search; None: it has none.
    on_choose, on_view
        Called with the key of a row that was chosen, and with the keys in view.
    head
        Place of the column that names a row.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        caption: str,
        empty: str,
        search: str | None = None,
        on_choose: Callable[[str], Any] | None = None,
        on_view: Callable[[list[str]], Any] | None = None,
        head: int = 0,
    ) -> None:
        super().__init__()
        self._rows: list[dict[str, Any]] = []
        self.props.update(
            {
                "columns": list(columns),
                "rows": self._rows,
                "caption": caption,
                "empty": empty,
                "search": search,
                "choosing": on_choose is not None,
                "chosen": "",
                "head": head,
                "badges": all(column["kind"] != "state" for column in columns),
            }
        )
        self.on("built", self.update, args=[])
        if on_choose is not None:

            async def choose(event: GenericEventArguments) -> None:
                await on_choose(str(event.args))

            self.on("choose", choose)
        if on_view is not None:

            async def view(event: GenericEventArguments) -> None:
                await on_view([str(key) for key in event.args])

            self.on("view", view)

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Show other rows; nothing is sent if they are the same."""
        if rows != self._rows:
            self._rows = rows
            self.props["rows"] = rows
            self.update()

    def patch(self, rows: list[dict[str, Any]]) -> None:
        """Send rows that changed, or are new."""
        if rows:
            # When the browser rebuilds the table, it takes its rows from here.
            self._rows = list(({row["key"]: row for row in self._rows} | {row["key"]: row for row in rows}).values())
            self.props["rows"] = self._rows
            self.run_method("patch", rows)

    def arrange(self, columns: Sequence[Column], *, head: int) -> None:
        """Show other columns; `head` is the place of the one that names a row."""
        self.props.update({"columns": list(columns), "head": head})
        self.update()

    def say(self, empty: str) -> None:
        """Say something else when there are no rows."""
        if empty != self.props["empty"]:
            self.props["empty"] = empty
            self.update()

    def choose(self, key: str) -> None:
        """Mark a row."""
        self.props["chosen"] = key
        self.update()
