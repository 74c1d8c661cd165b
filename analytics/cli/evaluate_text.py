"""What `tickline spikes evaluate` prints: reports as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.terminal import aligned

WIDE = 74  # the longest name of a baseline
SHORT = {"better": "better", "worse": "worse", "no difference shown": "not shown"}


def labelled_text(report: dict[str, Any]) -> str:
    """Return a report as aligned tables."""
    lines = [f"{'':{WIDE}}  precision  recall  hits  false  missed  delay min  false/day"]
    for name, found in [(f"rules {report['rules']}", report), *report["baselines"].items()]:
        lines.append(_line(name, found))
    lines += ["", *_differences(report), "", *_reliability(report["calibration"])]
    more = report.get("cross_validation")
    if more:
        lines += ["", "each event judged by weights fitted on the others:"]
        lines += [_line(f"confidence from {row['confidence_min']:g}", row) for row in more["curve"]]
        lines += ["", *_differences(more)]
        lines += ["", *_reliability(more["calibration"])]
        lines += ["", "fitted: " + ", ".join(f"{name} {value:.2f}" for name, value in more["fitted"].items())]
    return "\n".join(lines)


def _differences(report: dict[str, Any]) -> list[str]:
    """Return the intervals, and whether a difference to a baseline is one, as lines."""
    own = report["intervals"]
    lines = [
        f"95 % intervals of {own['events']} events: precision {_span(own['precision'])}, recall {_span(own['recall'])}"
    ]
    lines.append(f"{'better or worse than a baseline by':{WIDE}}  {'precision':>32}  {'recall':>32}")
    for name, found in report["differences"].items():
        cells = [f"{_span(found[of], sign=True)} {SHORT[found[of]['verdict']]}" for of in ("precision", "recall")]
        lines.append(f"{name:{WIDE}}  {cells[0]:>32}  {cells[1]:>32}")
    return lines


def _span(found: dict[str, Any], *, sign: bool = False) -> str:
    """Return a figure with its interval."""
    form = "+.2f" if sign else ".2f"
    if found["value"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:{form}} (too few)"
    return f"{found['value']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def _reliability(found: dict[str, Any]) -> list[str]:
    """Return how often alarms are right, by confidence, as lines."""
    lines = ["alarms by confidence   mean  right  (90 % range)  number"]
    for row in found["bins"]:
        span, allowed = f"{row['from']:g} to {row['to']:g}", f"({row['right_from']:.2f} to {row['right_to']:.2f})"
        lines.append(f"{span:>20}  {row['confidence']:5.2f}  {row['right']:5.2f}  {allowed}  {row['alarms']:6}")
    return [*lines, f"Brier score {found['brier']:.3f}; of the base rate {found['brier_of_base_rate']:.3f}"]


def _line(name: str, found: dict[str, Any]) -> str:
    """Return one detector's results as a line."""
    precision, delay = found["precision"], found["median_delay_minutes"]
    return (
        f"{name:{WIDE}}  {'-' if precision is None else f'{precision:.3f}':>9}  {found['recall']:6.3f}"
        f"  {found['true_positives']:4}  {found['false_positives']:5}  {found['false_negatives']:6}"
        f"  {'-' if delay is None else f'{delay:.1f}':>9}  {found['false_alarms_per_day']:9.3f}"
    )


def history_text(report: dict[str, Any]) -> str:
    """Return the report on a history as tables."""
    days, ahead = report["days"], report["look_ahead"]
    seen = "none" if not ahead["different"] else f"{ahead['different']} scores differ"
    lines = [
        f"{report['detector']}: {report['bars']:,} bars of {report['interval_minutes']:g} min, {report['instruments']} "
        f"instruments, {days['judged']} of {days['all']} days judged, {days['first']} to {days['last']}",
        f"each day by what was known before it; looks ahead: {seen} ({ahead['checked']:,} scores checked)",
        "",
        "alarms a day and instrument, and how many times as many as with the volume of another day:",
        *_rates([(name, found) for name, found in report["classes"].items()], "class"),
        "by instrument, those with the most:",
        *_rates([(found["instrument_key"], found) for found in report["instruments_judged"]], "instrument"),
        "what followed an alarm, against the same minute of days without one (range, volume: times as much; large:",
        "more range than 9 of 10 such minutes have, 0.10 by chance; direction: the price went on the same way);",
        "matched: alarms with such minutes, and how many they have",
        *_followed(report["detectors"]),
    ]
    if len(report["classes"]) > 1:
        lines += ["the same by class:", *_followed_by_class(report)]
    if any(found[of]["low"] is not None for found in report["differences"].values() for of in DIFFERENCES):
        lines += ["difference to the baselines in the 15 minutes after an alarm:", *_history_differences(report)]
    else:
        lines += ["too few days with alarms to compare with the baselines", ""]
    return "\n".join(lines + _labels(report["labels"]) + _planted(report["planted"]))


def _planted(found: dict[str, Any] | None) -> list[str]:
    """Return which planted spikes were found."""
    if found is None:
        return []
    rows = [[f"{row['class']}: {row['kind']}", f"{row['events']}", _span(row["found"])] for row in found["rows"]]
    others = f"{found['other_alarms']} other alarms, {found['other_alarms_per_day']:.2f} an instrument and day"
    return [f"planted spikes found within 5 minutes; {others}:", *_table(["", "planted", "found"], rows)]


def _history_differences(report: dict[str, Any]) -> list[str]:
    rows = [
        [name, *(f"{_span(found[of], sign=True)} {SHORT[found[of]['verdict']]}" for of in DIFFERENCES)]
        for name, found in report["differences"].items()
    ]
    return _table(["baseline", "log range", "log volume", "large", "direction"], rows)


def _labels(found: dict[str, Any] | None) -> list[str]:
    """Return how detectors do on what people said."""
    if found is None:
        return []
    counts = ", ".join(f"{number} {verdict}" for verdict, number in found["labels"].items())
    rows = []
    for name, one in found["detectors"].items():
        cells = [name, _span(one["found"]), _span(one["right"])]
        for of in ("found", "right"):
            more = one.get("difference", {}).get(of)
            cells.append("" if more is None else f"{_span(more, sign=True)} {SHORT[more['verdict']]}")
        rows.append(cells)
    heads = ["", "spikes found", "labelled alarms right", "difference", "difference"]
    return [f"by {counts} labels (real spikes are those right and missed):", *_table(heads, rows)]


DIFFERENCES = ("range", "volume", "large", "right")


def _rates(found: Sequence[tuple[str, dict[str, Any]]], title: str) -> list[str]:
    rows = []
    for name, one in found:
        cells = [name, f"{one['instruments']}", f"{one['instrument_days']}", f"{one['alarms']}", _span(one["per_day"])]
        for kind in ("minutes", "days"):
            null = one.get(f"null_{kind}")
            cells += ["-", "-"] if null is None else [f"{null['per_day']['value']:.2f}", _times(null["ratio"])]
        rows.append(cells)
    heads = [title, "instruments", "days", "alarms", "a day", "minutes shuffled", "times", "days shuffled", "times"]
    return _table(heads, rows)


def _times(ratio: dict[str, Any]) -> str:
    """Return a ratio to the null, which may have had no alarm at all."""
    if ratio["value"] is None:
        return "-"
    if ratio["low"] is None:
        return f"{ratio['value']:.1f} (too few)"
    most = "more" if ratio["high"] is None else f"{ratio['high']:.1f}"
    return f"{ratio['value']:.1f} ({ratio['low']:.1f} to {most})"


def _followed(detectors: dict[str, dict[str, Any]]) -> list[str]:
    rows = [_followed_cells(name, found) for name, found in detectors.items()]
    return _table(FOLLOWED, rows)


def _followed_by_class(report: dict[str, Any]) -> list[str]:
    classes = report["detectors"][report["detector"]]["classes"]
    return _table(FOLLOWED, [_followed_cells(name, found) for name, found in classes.items()])


FOLLOWED = [
    "", "alarms", "matched", "range 5 min", "range 15", "range 60", "volume 15", "large 15", "direction 5",
    "direction 15", "direction 60",
]  # fmt: skip


def _followed_cells(name: str, found: dict[str, Any]) -> list[str]:
    ranges = [_span(found[horizon]["range_ratio"]) for horizon in ("5", "15", "60")]
    directions = [_span(found[horizon]["right_share"]) for horizon in ("5", "15", "60")]
    others = found["matched_minutes"]
    matched = f"{found['matched']}" if others is None else f"{found['matched']} of {others:g}"
    after = [_span(found["15"]["volume_ratio"]), _span(found["15"]["large_share"])]
    return [name, f"{found['alarms']}", matched, *ranges, *after, *directions]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines, and an empty line."""
    columns = [list(column) for column in zip(heads, *rows, strict=True)]
    return [*aligned(columns, [False, *[True] * (len(heads) - 1)]).splitlines(), ""]


def power_text(report: dict[str, Any]) -> str:
    """Return the power of a detector as tables."""
    lines = [
        f"{report['detector']} on a made-up market: share of planted events found within 5 minutes, 95 % intervals",
        "size: deviations of a usual minute, and of volume how many times the usual",
        "",
    ]
    for kind, found in report["classes"].items():
        lines.append(
            f"{kind}: {found['instruments']} events each; at {found['rate']:g} false alarms an instrument and day "
            f"(on another day {_span(found['false_alarms'])}), and at the own threshold "
            f"({_span(found['own_false_alarms'])})"
        )
        sizes = list(dict.fromkeys(cell["size"] for cell in found["cells"]))
        rows = []
        for what in dict.fromkeys(cell["kind"] for cell in found["cells"]):
            of = [cell for cell in found["cells"] if cell["kind"] == what]
            rows.append([what, *(_span(cell["found"]) for cell in of)])
            rows.append(["  own threshold", *(_span(cell["found_by_own_threshold"]) for cell in of)])
            rows.append(["  median event", *(_natural(cell["natural"]) for cell in of)])
        lines += _table(["planted", *(f"size {size:g}" for size in sizes)], rows)
    return "\n".join(lines)


def _natural(natural: dict[str, float | None]) -> str:
    """Return the natural units of an event."""
    move, volume = natural["move"], natural["volume_multiple"]
    points, change = natural["iv_points"], natural["oi_change"]
    parts = [
        None if points is None else f"{points:.2f} points",
        None if move is None or points is not None else f"{100 * move:.2f} %",
        None if volume is None else f"{volume:g} times",
        None if change is None else f"{100 * change:.2f} % oi",
    ]
    return ", ".join(part for part in parts if part is not None)
