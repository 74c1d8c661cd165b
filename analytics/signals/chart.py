"""Draw one instrument's bars with volume, quality and spikes as one self-contained HTML file.

Owns which figures go into the chart. Must not know where bars and signals come from. Times are market-local (IST).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from analytics.charts.html_file import html_file
from ingest.errors import ConfigError


def draw(bars: pl.DataFrame, signals: pl.DataFrame) -> dict[str, Any]:
    """Return the figures of one instrument for `analytics.charts`.

    Parameters
    ----------
    bars, signals
        Columns as `schema.BARS`, of which quality and source may be absent, and as `columns.SIGNALS`.
    """
    start = pl.col("bucket").dt.epoch("ms")
    marks = [
        (pl.col(name).cast(pl.String) if name in bars.columns else pl.lit(usual)).alias(name)
        for name, usual in (("quality", "complete"), ("source", "ticks"))
    ]
    shown = bars.select(start, "open", "high", "low", "close", "volume", *marks)
    found = signals.select(start, "direction", pl.col("confidence").round(2), "close", "reasons")
    return {
        "bars": [list(row) for row in shown.iter_rows()],
        "signals": [list(row) for row in found.iter_rows()],
        "interval": "1m",
    }


def write_html(figures: dict[str, Any], title: str, path: Path) -> None:
    """Write a chart with the library in it, about 1.2 MB.

    Raises
    ------
    ConfigError
        If the library is not installed, or the file cannot be written.
    """
    text = html_file(title, figures)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"chart {str(path)!r} cannot be written: {exc.strerror}: name another with --chart") from exc
