"""The chart of spikes: one file with every bar and signal. `tests/db/test_page.py` looks at it in a browser."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from analytics import features, spikes
from analytics.cli.spikes import find_command
from analytics.signals.chart import draw, write_html
from ingest.errors import ConfigError
from tests.unit.analytics.signals.test_spikes import START, made, planted


def test_chart_has_every_bar_and_signal_and_needs_nothing_but_its_file(tmp_path: Path) -> None:
    days = pl.concat([planted(made(), 200), made(start=START + timedelta(days=1))])
    found = spikes(features(days))
    figures = draw(days, found)
    assert [bar[0] for bar in figures["bars"]] == [round(at.timestamp() * 1000) for at in days["bucket"]]
    first = days.select("open", "high", "low", "close", "volume").row(0)
    assert figures["bars"][0][1:] == [*first, "complete", "ticks"]
    marked = draw(days.with_columns(quality=pl.lit("gap"), source=pl.lit("official")), found)
    assert marked["bars"][0][1:] == [*first, "gap", "official"]
    assert [signal[1] for signal in figures["signals"]] == found["direction"].to_list() != []
    path = tmp_path / "chart.html"
    write_html(figures, "</script> & <b>", path)
    text = path.read_text(encoding="utf-8")
    assert "<title>&lt;/script&gt; &amp; &lt;b&gt;</title>" in text
    assert text.count("</script>") == 2  # no text within ends one
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", text.partition('<script type="application/json"')[0])


def test_chart_without_its_library_is_refused_before_the_search_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analytics.charts.find_spec", lambda name: None)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # is not asked
    ran = CliRunner().invoke(find_command, ["INFY", "--chart", str(tmp_path / "x.html")])
    assert isinstance(ran.exception, ConfigError)
    assert str(ran.exception) == "charts need NiceGUI, which is not installed: run `pip install 'tickline[chart]'`"
