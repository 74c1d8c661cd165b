"""Draw one instrument's day with bars, volume and spikes as one self-contained HTML file.

Owns the drawing. Must not know where bars and signals come from. Times are market-local (IST).
Importing it raises ConfigError if the extra `chart` is not installed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl

from analytics.market_time import MARKET_ZONE
from ingest.errors import ConfigError

try:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots
except ModuleNotFoundError as exc:
    raise ConfigError("charts need Plotly, which is not installed: run `pip install 'tickline[chart]'`") from exc

SILENCE = timedelta(minutes=15)  # the axis leaves out longer times without a bar, such as nights
COLOURS = {"up": "#1a7f37", "down": "#cf222e"}


def draw(bars: pl.DataFrame, signals: pl.DataFrame, title: str) -> go.Figure:
    """Return the figure of one instrument; columns of bars as `schema.BARS`, of signals as `detection.SIGNALS`."""
    local = pl.col("bucket").dt.convert_time_zone(MARKET_ZONE.key).dt.replace_time_zone(None)
    bars, signals = bars.with_columns(local), signals.with_columns(local)
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.03)
    times = bars["bucket"].to_list()
    prices = {name: bars[name].to_list() for name in ("open", "high", "low", "close")}
    figure.add_trace(go.Candlestick(x=times, **prices, name="price"), row=1, col=1)
    figure.add_trace(go.Bar(x=times, y=bars["volume"].to_list(), name="volume", marker_color="#57606a"), row=2, col=1)
    for direction, symbol in (("up", "triangle-up"), ("down", "triangle-down")):
        some = signals.filter(pl.col("direction") == direction)
        marker = {"symbol": symbol, "size": 14, "color": COLOURS[direction]}
        texts = [f"confidence {row['confidence']:.2f}<br>{row['reasons']}" for row in some.iter_rows(named=True)]
        figure.add_trace(
            go.Scatter(
                x=some["bucket"].to_list(),
                y=some["close"].to_list(),
                mode="markers",
                marker=marker,
                text=texts,
                hoverinfo="x+text",
                name=f"spike {direction}",
            ),
            row=1,
            col=1,
        )
    figure.update_layout(title=title, template="plotly_white", xaxis_rangeslider_visible=False, hovermode="x")
    figure.update_xaxes(rangebreaks=_silences(times))
    # Plotly would write 26,812.50 as 26.8k.
    figure.update_yaxes(title_text="rupees", tickformat=",.2f", hoverformat=",.2f", row=1, col=1)
    figure.update_yaxes(title_text="units", tickformat=",d", row=2, col=1)
    return figure


def _silences(times: list[datetime]) -> list[dict[str, list[str]]]:
    """Return the stretches without bars, as Plotly leaves them out of an axis."""
    return [
        {"bounds": [(before + timedelta(minutes=1)).isoformat(), after.isoformat()]}
        for before, after in pairwise(times)
        if after - before > SILENCE
    ]


def write_html(figure: go.Figure, path: Path) -> None:
    """Write a figure with the library in it, about 5 MB.

    Raises
    ------
    ConfigError
        If the file cannot be written.
    """
    try:
        path.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"chart {str(path)!r} cannot be written: {exc.strerror}: name another with --chart") from exc
