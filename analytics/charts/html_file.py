"""A candlestick chart as one HTML file that needs nothing else: the library and the options are in it.

`content` and `LOAD` are for other files with charts.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from analytics.charts import OPTIONS, library

# Modules of a file cannot import each other by name, so each becomes an address of its own (a blob).
LOAD = """\
  const { modules, data } = JSON.parse(document.getElementById("content").textContent);
  const address = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const entry = modules.entry.replace(modules.name, address(modules.library));
  const { echarts } = await import(address(entry));
  const { candleOption } = await import(address(modules.options));"""
TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; --back: #ffffff; --text: #1b2330; }}
  @media (prefers-color-scheme: dark) {{ :root {{ --back: #171d26; --text: #e7ecf3; }} }}
  body {{ margin: 0; padding: 1rem; background: var(--back); color: var(--text); }}
  body {{ font: 15px/1.45 system-ui, sans-serif; }}
  h1 {{ font-size: 1.15rem; margin: 0 0 .5rem; }}
  #chart {{ width: 100%; height: calc(100vh - 8rem); min-height: 20rem; }}
</style>
<h1>{title}</h1>
<div id="chart" role="img" aria-label="{label}"></div>
<p>▲ ▼ spikes. Marks under the candles: red = not received (gap), amber = received in part, grey = made from a single
trade (thin), blue = opening auction. Times are IST.</p>
<script type="application/json" id="content">{content}</script>
<script type="module">
{load}
  const chart = echarts.init(document.getElementById("chart"));
  const system = matchMedia("(prefers-color-scheme: dark)");
  const option = () => candleOption({{ ...data, dark: system.matches, all: true }});
  const draw = () => chart.setOption(option(), {{ notMerge: true }});
  system.addEventListener("change", draw);
  addEventListener("resize", () => chart.resize());
  draw();
</script>
</html>
"""


def html_file(title: str, data: dict[str, Any]) -> str:
    """Return a file that draws `data` (see `script/index.js`: bars, signals, interval), 1.2 MB.

    Raises
    ------
    ConfigError
        If the library is not installed.
    """
    label = f"Candlestick chart of {title}: {len(data['bars']):,} bars, {len(data['signals']):,} signals"
    return TEMPLATE.format(title=html.escape(title), label=html.escape(label), content=content(data), load=LOAD)


def content(data: Any) -> str:
    """Return the library, the options and what is drawn as JSON that can stand in a script element of a page.

    Raises
    ------
    ConfigError
        If the library is not installed.
    """
    folder = library()
    entry = (folder / "index.js").read_text(encoding="utf-8")
    found = re.search(r'from\s*"(\./[^"]+)"', entry)
    assert found is not None, "ECharts of NiceGUI is made of an index and one module"
    modules = {
        "entry": entry,
        "name": found[1],
        "library": (folder / found[1]).read_text(encoding="utf-8"),
        "options": (OPTIONS / "index.js").read_text(encoding="utf-8"),
    }
    text = json.dumps({"modules": modules, "data": data}, ensure_ascii=False)
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--")
