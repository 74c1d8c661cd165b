"""The chart of spikes: its axes say what a trader reads, and have no band where nothing was traded."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics import features, spikes
from analytics.signals.chart import draw
from tests.unit.analytics.signals.test_spikes import START, made, planted


def test_chart_leaves_out_nights_and_writes_whole_prices() -> None:
    days = pl.concat([planted(made(), 200), made(start=START + timedelta(days=1))])
    figure = draw(days, spikes(features(days)), "two days").to_dict()
    layout = figure["layout"]
    [night] = layout["xaxis"]["rangebreaks"]
    assert tuple(night["bounds"]) == ("2026-01-05T15:30:00", "2026-01-06T09:15:00")
    assert layout["xaxis2"]["rangebreaks"] == layout["xaxis"]["rangebreaks"]
    assert layout["yaxis"]["tickformat"] == ",.2f"  # Plotly's own would make 26,812.50 to 26.8k
    assert layout["yaxis2"]["tickformat"] == ",d"
    assert [trace["name"] for trace in figure["data"]] == ["price", "volume", "spike up", "spike down"]
