"""The report as one HTML file that needs nothing else.

Owns what the page shows and its words; `report.html` is its frame. Must not know where signals and bars come from.
Times are market-local (IST).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from analytics.charts.html_file import LOAD, content
from analytics.market_time import MARKET_ZONE, day_start
from analytics.review.report import Report
from analytics.review.summary import HORIZONS, TOTAL
from ingest.errors import ConfigError
from ingest.files import replace_file

ROWS_MAX = 1_000  # of the table of signals: a browser shows them at once
MEMBERS_NAMED = 4
ARROWS = {"up": "▲ up", "down": "▼ down"}
HEADINGS = {"best": "The best", "worst": "The worst"}
UNKNOWN = "-"


def write_report(report: Report, drawn: Sequence[tuple[str, dict[str, Any], pl.DataFrame]], path: Path) -> None:
    """Write the report of signals, with the charts of some of them; 1.2 MB.

    Parameters
    ----------
    report
        From `report.read_report`.
    drawn
        From `report.with_bars`.
    path
        The file; it is replaced as a whole.

    Raises
    ------
    ConfigError
        If the library of charts is not installed, or the file cannot be written.
    """
    text = report_file(report, drawn)
    try:
        replace_file(path, text.encode())
    except OSError as exc:
        raise ConfigError(f"report {str(path)!r} cannot be written: {exc.strerror}: name another with --html") from exc


def report_file(report: Report, drawn: Sequence[tuple[str, dict[str, Any], pl.DataFrame]]) -> str:
    """Return the page."""
    frame = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    figures = [_figures(f"chart{place}", signal, bars) for place, (_, signal, bars) in enumerate(drawn)]
    body = [_summary(report.figures)]
    for kind, heading in HEADINGS.items():
        cards = [_card(place, signal, bars) for place, (name, signal, bars) in enumerate(drawn) if name == kind]
        if cards:
            body.append(f"<h2>{heading}, by the outcome after 15 minutes</h2><div class='cards'>{''.join(cards)}</div>")
    body += [_signals(report), _missed(report.missed)]
    days = f"{report.start.astimezone(MARKET_ZONE):%d %b %Y}"
    if not _is_day(report):
        days = f"{_time(report.start)} to {_time(report.end)} IST"
    return frame.substitute(
        title=f"Signals, {escape(days)}",
        said=escape(_said(report)),
        body="\n".join(part for part in body if part),
        content=content(figures),
        load=LOAD,
    )


def _said(report: Report) -> str:
    """Return what there is, in a sentence or two."""
    signals = report.signals.height
    events = report.signals.select("instrument_id", "bucket").n_unique() if signals else 0
    parts = [f"{signals} signals" if signals != 1 else "1 signal"]
    if events != signals:
        parts.append(f"of {events} events, which several rule sets found")
    if report.missed.height:
        parts.append(f"and {report.missed.height} missed by all, as labelled")
    return (
        f"{' '.join(parts)}. A direction held if the price had moved on in it by then; moves are in the direction of "
        "the signal, those of a price that turned negative. Times are IST."
    )


def _summary(figures: pl.DataFrame) -> str:
    """Return the figures as a table."""
    if figures.is_empty():
        return "<p>No signal is stored for this time.</p>"
    several = figures["rule_set"].n_unique() > 1
    heads = ["Class", *(["Rules"] if several else []), "Signals", "Right", "Wrong"]
    heads += [f"Held after {horizon} min" for horizon in HORIZONS]
    rows = []
    for row in figures.iter_rows(named=True):
        cells = [f"<th scope='row'>{escape(row['class'])}</th>"]
        cells += [_cell(row["rule_set"], "short", "Rules")] if several else []
        cells += [_cell(str(row[name]), "number", name.capitalize()) for name in ("signals", "right", "wrong")]
        cells += [
            f"<td class='number wide' data-head='After {horizon} min'>{_held(row, horizon)}</td>"
            for horizon in HORIZONS
        ]
        rows.append(f"<tr{' class=total' if row['class'] == TOTAL else ''}>{''.join(cells)}</tr>")
    return "<h2>Summary</h2>" + _table(heads, rows)


def _held(row: dict[str, Any], horizon: int) -> str:
    """Return a share with its interval and number, and the median move."""
    if row[f"held_{horizon}m"] is None:
        return UNKNOWN
    low, high = (round(100 * row[f"held_{horizon}m_{end}"]) for end in ("low", "high"))
    return (
        f"{100 * row[f'held_{horizon}m']:.0f} % of {row[f'known_{horizon}m']} "
        f"<small>{low} to {high} %, median {_percent(row[f'median_{horizon}m'])}</small>"
    )


def _card(place: int, signal: dict[str, Any], bars: pl.DataFrame) -> str:
    """Return one signal with the place of its chart."""
    name = escape(_name(signal))
    label = f"Candlestick chart of {name}, {bars.height} bars around {_time(signal['bucket'])} IST"
    outcome = "".join(
        f"<li><small>after {horizon} min</small> {_move(signal[f'moved_{horizon}m'])}</li>" for horizon in HORIZONS
    )
    facts = [f"confidence {signal['confidence']:.2f}", f"price {signal['price']:,.2f}", escape(signal["class"])]
    if signal["severity"]:
        facts.insert(0, f"severity {escape(signal['severity'])}")
    members = _members(signal)
    parts = [
        f"<div class='head'><h3>{name} {_direction(signal)}</h3>"
        f"<span class='faint'>{_time(signal['bucket'])}</span></div>",
        f"<p class='faint'>{', '.join(facts)}</p>",
        f"<div class='chart' id='chart{place}' role='img' aria-label=\"{label}\"></div>",
        f"<ul class='outcome'>{outcome}</ul>",
        f"<p>{escape(signal['reasons'] or '')}</p>",
        f"<p class='faint'>with {members}</p>" if members else "",
        f"<p>Labelled <b>{escape(signal['verdict'])}</b>{_note(signal)}</p>" if signal["verdict"] else "",
    ]
    return f"<article class='card'>{''.join(parts)}</article>"


def _is_day(report: Report) -> bool:
    """Return whether a range is one day of the market."""
    return report.end - report.start == timedelta(days=1) and day_start(report.start) == report.start


def _signals(report: Report) -> str:
    """Return all signals as a table."""
    signals, is_day = report.signals, _is_day(report)
    if signals.is_empty():
        return ""
    several = signals["rule_set"].n_unique() > 1
    rows = []
    for row in signals.head(ROWS_MAX).iter_rows(named=True):
        cells = [
            f"<td class='short'>{_time(row['bucket'])[-5 if is_day else 0 :]}</td>",
            f"<th scope='row'>{escape(_name(row))}</th>",
            f"<td class='short'>{_direction(row)}</td>",
            *([_cell(row["rule_set"], "short", "Rules")] if several else []),
            _cell(f"{row['confidence']:.2f}", "number", "Confidence"),
            _cell(row["severity"] or UNKNOWN, "short", "Severity"),
            *(
                f"<td class='number' data-head='After {horizon} min'>{_move(row[f'moved_{horizon}m'])}</td>"
                for horizon in HORIZONS
            ),
            f"<td data-head='Label'>{escape(row['verdict'] or UNKNOWN)}{_note(row)}</td>",
            f"<td class='words'>{escape(row['reasons'] or '')}{_with(row)}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ["Time", "Instrument", "Direction", *(["Rules"] if several else []), "Confidence", "Severity"]
    heads += [f"After {horizon} min" for horizon in HORIZONS] + ["Label", "Reasons"]
    more = f"<p class='faint'>The first {ROWS_MAX:,} of {signals.height:,}.</p>" if signals.height > ROWS_MAX else ""
    return f"<h2>All signals</h2>{_table(heads, rows)}{more}"


def _missed(missed: pl.DataFrame) -> str:
    """Return the labels of spikes that no signal told as a table."""
    if missed.is_empty():
        return ""
    rows = [
        f"<tr><td class='short'>{_time(row['bucket'])}</td><th scope='row'>{escape(_name(row))}</th>"
        f"<td class='words'>{escape(row['note'] or '')}</td></tr>"
        for row in missed.iter_rows(named=True)
    ]
    return f"<h2>Missed, as labelled</h2>{_table(['Time', 'Instrument', 'Note'], rows)}"


def _figures(place: str, signal: dict[str, Any], bars: pl.DataFrame) -> dict[str, Any]:
    """Return what `charts/script/index.js` draws of a signal."""
    start = pl.col("bucket").dt.epoch("ms")
    marks = [pl.col(name).cast(pl.String) for name in ("quality", "source")]
    shown = bars.select(start, "open", "high", "low", "close", "volume", *marks)
    at = round(signal["bucket"].timestamp() * 1000)
    mark = [at, signal["direction"], round(signal["confidence"], 2), signal["price"], signal["reasons"] or ""]
    return {"id": place, "bars": [list(row) for row in shown.iter_rows()], "signals": [mark], "interval": "1m"}


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th scope='col'{' class=number' if _is_number(head) else ''}>{head}</th>" for head in heads)
    return (
        f"<div class='scroll' tabindex='0'><table><thead><tr>{cells}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_number(head: str) -> bool:
    return head in {"Signals", "Right", "Wrong", "Confidence"} or " min" in head


def _cell(text: str, css: str, head: str) -> str:
    """Return a cell; on a narrow screen it names its column itself."""
    return f"<td class='{css}' data-head='{head}'>{escape(text)}</td>"


def _move(moved: float | None) -> str:
    """Return a move in percent, in the colour of its sign."""
    is_zero = moved is None or not round(100 * moved, 2)
    css = "" if is_zero or moved is None else f" class='{'up' if moved > 0 else 'down'}'"
    return f"<b{css}>{_percent(moved)}</b>"


def _percent(moved: float | None) -> str:
    if moved is None:
        return UNKNOWN
    percent = round(100 * moved, 2)
    return f"{percent:+.2f} %" if percent else "0.00 %"


def _direction(signal: dict[str, Any]) -> str:
    return f"<span class='{signal['direction']}'>{ARROWS[signal['direction']]}</span>"


def _members(signal: dict[str, Any]) -> str:
    """Return the names of the instruments that fired with a signal."""
    members = signal["members"] or []
    names = [escape(_name(one)) for one in members[:MEMBERS_NAMED]]
    more = f" and {len(members) - MEMBERS_NAMED} more" if len(members) > MEMBERS_NAMED else ""
    return f"{', '.join(names)}{more}"


def _with(signal: dict[str, Any]) -> str:
    members = _members(signal)
    return f" <small>with {members}</small>" if members else ""


def _note(signal: dict[str, Any]) -> str:
    return f" <small>{escape(signal['note'])}</small>" if signal["note"] else ""


def _name(row: dict[str, Any]) -> str:
    return str(row["trading_symbol"] or row["instrument_key"])


def _time(at: datetime) -> str:
    return f"{at.astimezone(MARKET_ZONE):%d %b %H:%M}"
