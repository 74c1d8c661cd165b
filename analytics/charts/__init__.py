"""Candlestick charts with ECharts: the options (`script/index.js`), and where the library's script is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ingest.errors import ConfigError

OPTIONS = Path(__file__).parent / "script"  # a module for browsers


def library() -> Path:
    """Return the folder of NiceGUI's wheel that holds ECharts as a module for browsers.

    Raises
    ------
    ConfigError
        If NiceGUI is not installed, or has no ECharts where it used to be.
    """
    found = find_spec("nicegui")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("charts need NiceGUI, which is not installed: run `pip install 'tickline[chart]'`")
    folder = Path(found.submodule_search_locations[0]) / "elements" / "echart" / "dist"
    if not (folder / "index.js").is_file():
        raise ConfigError(f"NiceGUI has no ECharts in {str(folder)!r}: run `pip install 'tickline[chart]'`")
    return folder
