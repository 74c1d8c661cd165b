"""A candlestick chart whose bars change while it is shown."""

from __future__ import annotations

from nicegui import ui

from analytics.charts import OPTIONS, library
from analytics.page.charts import Asked, Chart


class CandleChart(
    ui.element,
    component="candle_chart.js",
    esm={"nicegui-echart": str(library()), "tickline-candles": str(OPTIONS)},
):
    """Candles with volume, marks of quality and signals; the time is India's."""

    def __init__(self, *, empty: str) -> None:
        super().__init__()
        self.props["empty"] = empty
        self._version = 0

    def show(self, name: str, asked: Asked, chart: Chart) -> None:
        """Show a chart from its first bar on."""
        self._version = chart.version
        bars = [chart.bars[start] for start in sorted(chart.bars)]
        given = {"name": name, "interval": asked.interval, "bars": bars, "signals": chart.signals}
        self.run_method("show", given)

    def follow(self, chart: Chart) -> None:
        """Send what changed since the last call."""
        if chart.version == self._version:
            return
        starts = sorted(chart.bars)
        # A browser that missed a version gets all bars: they are some kilobytes.
        since = chart.from_ms if chart.version == self._version + 1 else 0
        self._version = chart.version
        bars = [chart.bars[start] for start in starts if start >= since]
        self.run_method("tail", {"bars": bars, "signals": chart.signals})
