"""The chart of one instrument in one browser."""

from __future__ import annotations

import asyncio
import time

from analytics.page.board import Board
from analytics.page.charts import DAYS, Asked, Chart
from analytics.page.parts.candle_chart import CandleChart
from analytics.page.parts.elements import Choice, Text, element
from ingest.errors import TicklineError

AGAIN_S = 2.0  # while the database is away, or the instrument has not ticked
LEGEND = (
    "▲ ▼ spikes. Marks under the candles: red = not received (gap), amber = received in part, grey = made from a "
    "single trade (thin), blue = opening auction; no mark = complete. Times are IST."
)


class ChartView:
    """Candles, volume, quality and signals of the chosen instrument."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._key = ""
        self._interval = "1m"
        self._shown: tuple[Asked, Chart] | None = None
        self._turn = asyncio.Lock()
        self._again_s = 0.0  # when to try again to read a chart, monotonic
        with element("div", "tools"):
            self._title = Text("h2", "no instrument is chosen")
            self._price = Text("span", css="value")
            element("span", "grow")
            self._intervals = Choice("Interval", self._choose_interval)
            self._intervals.offer([(name, name) for name in DAYS], self._interval)
        self._complaint = Text("p", css="complaint")
        self._complaint.props["role"] = "alert"
        self._chart = CandleChart(empty="no bars: they come with the first trade of an instrument")
        Text("p", LEGEND, css="legend")

    @property
    def is_empty(self) -> bool:
        """Whether no instrument was chosen yet."""
        return not self._key

    async def choose(self, key: str) -> None:
        """Show an instrument."""
        self._key = key
        await self._show()

    async def _choose_interval(self, interval: str) -> None:
        if interval in DAYS:
            self._interval = interval
            await self._show()

    async def _show(self) -> None:
        async with self._turn:  # a click while a chart is read waits, so that each use of a chart is ended
            await self._read()

    async def _read(self) -> None:
        name = self._board.watch.name_of(self._key)
        self._title.say(name)
        self.close()
        self._again_s = time.monotonic() + AGAIN_S
        instrument_id = self._board.watch.ids.get(self._key)
        if instrument_id is None:
            self._complaint.say(f"{name} has not ticked yet")
            return
        asked = Asked(instrument_id, self._interval)
        try:
            chart = await self._board.charts.show(asked, self._board.session)
        except TicklineError as exc:
            self._complaint.say(f"the chart cannot be read: {exc}")
            return
        self._complaint.say("")
        self._shown = asked, chart
        self._chart.show(name, asked, chart)

    async def refresh(self) -> None:
        """Send what changed; read a chart that could not be read."""
        if self._shown is not None:
            self._chart.follow(self._shown[1])
        elif self._key and time.monotonic() >= self._again_s:
            await self._show()
        if row := self._board.watch.row(self._key):
            price, change = row["price"], row["change"]
            said = "" if price is None else f"{price:,.2f}" + ("" if change is None else f"  ({change:+.2f} %)")
            self._price.say(said, "value")

    def close(self) -> None:
        """End the use of the chart."""
        if self._shown is not None:
            self._board.charts.hide(self._shown[0])
            self._shown = None
