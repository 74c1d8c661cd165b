"""The chart of spikes: its axes say what a trader reads, and have no band where nothing was traded."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from analytics import features, spikes
from analytics.cli.spikes import find_command
from analytics.signals.chart import draw
from ingest.errors import ConfigError
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


def test_chart_without_plotly_is_refused_before_the_search_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    for name in [name for name in sys.modules if name.startswith(("plotly.", "analytics.signals.chart"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # is not asked
    ran = CliRunner().invoke(find_command, ["INFY", "--chart", str(tmp_path / "x.html")])
    assert isinstance(ran.exception, ConfigError)
    assert str(ran.exception) == "charts need Plotly, which is not installed: run `pip install 'tickline[chart]'`"
