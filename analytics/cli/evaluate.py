"""`tickline spikes evaluate`: judge the detector.

Owns the arguments and the output. Imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl

    from analytics.signals.rules import Rules

WIDE = 74  # the longest name of a baseline
SHORT = {"better": "better", "worse": "worse", "no difference shown": "not shown"}
MATCHED = "(same number of alarms)"
RULES_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rules", "rules_file", type=RULES_FILE, help="TOML file of rules.  [default: built-in rules]")
@click.option("--cross-validate", is_flag=True, help="Also judge each event by weights fitted on the others.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def evaluate_command(*, file: Path, rules_file: Path | None, cross_validate: bool, form: str) -> None:
    """Evaluate the rules on labelled events, next to simple baselines.

    FILE is Parquet with columns event, bucket, open, high, low, close, volume, announced_at, and trades if known. An
    alarm from 5 minutes before to 10 minutes after announced_at is a hit. Alarms within 60 minutes of each other
    count as one. Alarms up to 180 minutes after the announcement are not false alarms.
    """
    import polars as pl

    from analytics.evaluation.labelled import read_events
    from ingest.errors import ConfigError

    rules = _rules(rules_file)
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise ConfigError(f"file {str(file)!r} is not Parquet: {str(exc).splitlines()[0]}: name another") from exc
    report = _labelled(read_events(frame), rules, cross_validate=cross_validate)
    click.echo(json.dumps(report, indent=2) if form == "json" else _as_text(report))


def _labelled(events: pl.DataFrame, rules: Rules, *, cross_validate: bool) -> dict[str, Any]:
    """Return how the rules do on labelled events, next to the baselines."""
    import polars as pl

    from analytics.evaluation.fitting import scored
    from analytics.evaluation.labelled import baselines, difference, intervals, judge, matched_baselines
    from analytics.evaluation.reliability import reliability

    bars = scored(events, rules)
    alarms = bars.filter(1 / (1 + (-pl.col("score")).exp()) >= rules.confidence_min)
    mine = judge(alarms, events)
    beside, differences = {}, {}
    for name, found in baselines(events).items():
        beside[name] = judge(found, events).as_dict()
        differences[name] = difference(alarms, found, events)
    for name, (threshold, found) in matched_baselines(events, mine.true_positives + mine.false_positives).items():
        beside[f"{name} {MATCHED}"] = judge(found, events).as_dict() | {"threshold": threshold}
        differences[f"{name} {MATCHED}"] = difference(alarms, found, events)
    report = mine.as_dict() | {"rules": rules.name, "intervals": intervals(alarms, events), "baselines": beside}
    report |= {"differences": differences, "calibration": reliability(bars)}
    if cross_validate:
        report |= {"cross_validation": _cross_validation(bars, events, rules)}
    return report


def _cross_validation(bars: pl.DataFrame, events: pl.DataFrame, rules: Rules) -> dict[str, Any]:
    """Return curve, calibration and fitted weights, with each event judged by weights fitted on the others."""
    from analytics.evaluation.fitting import calibrated, calibration, cross_validated, fit
    from analytics.evaluation.labelled import curve
    from analytics.evaluation.reliability import reliability

    raw = cross_validated(bars, rules)
    unseen = calibrated(raw)
    slope, shift = calibration(raw)
    fitted = fit(bars, rules)
    weights = {name: getattr(fitted.weights, name) * slope for name in ("price", "volume", "trades")}
    return {
        "curve": curve(unseen, events, (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)).to_dicts(),
        "calibration": reliability(unseen),
        "fitted": weights | {"bias": fitted.bias * slope + shift},
    }


def _rules(path: Path | None) -> Rules:
    """Return the rules in a file, or the default ones."""
    from analytics.signals.rules import DEFAULT, load_rules

    return DEFAULT if path is None else load_rules(path)


def _as_text(report: dict[str, Any]) -> str:
    """Return a report as aligned tables."""
    lines = [f"{'':{WIDE}}  precision  recall  hits  false  missed  delay min  false/day"]
    for name, found in [(f"rules {report['rules']}", report), *report["baselines"].items()]:
        lines.append(_line(name, found))
    lines += ["", *_differences(report), "", *_reliability(report["calibration"])]
    more = report.get("cross_validation")
    if more:
        lines += ["", "each event judged by weights fitted on the others:"]
        lines += [_line(f"confidence from {row['confidence_min']:g}", row) for row in more["curve"]]
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
