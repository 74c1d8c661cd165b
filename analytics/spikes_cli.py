"""`tickline spikes`: find spikes in bars, store them, and judge the detector.

Owns the arguments and what is printed. What takes long to import is imported by the commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import polars as pl

    from analytics.rules import Rules


class _DefaultGroup(click.Group):
    """A group whose command `find` need not be named: `tickline spikes INFY` means `tickline spikes find INFY`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the default command where none is named."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["find", *args]
        return super().parse_args(ctx, args)


@click.group("spikes", cls=_DefaultGroup)
def command() -> None:
    """Find spikes of price and volume, store them as signals, and judge the detector.

    `tickline spikes INFY --from 2026-11-20` finds; `tickline spikes find --help` has its options.
    """


@command.command("evaluate")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rules", "rules_file", type=click.Path(dir_okay=False, path_type=Path), help="TOML; else the default.")
@click.option("--cross-validate", is_flag=True, help="Also fit on all other events for each event; curve, calibration.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def evaluate_command(*, file: Path, rules_file: Path | None, cross_validate: bool, form: str) -> None:
    """Judge the rules on labelled events, beside simple baselines.

    FILE is Parquet: event, bucket, open, high, low, close, volume, announced_at; trades where known. An
    alarm from 5 minutes before to 10 minutes after announced_at is a hit. Alarms within 60 minutes of
    one another are one. Those up to 180 minutes after the announcement are no false alarms.
    """
    import polars as pl

    from analytics.evaluation import baselines, judge, read_events, scored
    from sql.errors import ConfigError

    rules = _rules(rules_file)
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise ConfigError(f"file {str(file)!r} is no Parquet: {str(exc).splitlines()[0]}: name another") from exc
    events = read_events(frame)
    bars = scored(events, rules)
    alarms = bars.filter(1 / (1 + (-pl.col("score")).exp()) >= rules.confidence_min)
    beside = {name: judge(found, events).as_dict() for name, found in baselines(events).items()}
    report: dict[str, Any] = judge(alarms, events).as_dict() | {"rules": rules.name, "baselines": beside}
    if cross_validate:
        report |= {"cross_validation": _cross_validation(bars, events, rules)}
    click.echo(json.dumps(report, indent=2) if form == "json" else _as_text(report))


def _cross_validation(bars: pl.DataFrame, events: pl.DataFrame, rules: Rules) -> dict[str, Any]:
    """Return what comes out when no event is judged by weights that have seen it."""
    import polars as pl

    from analytics.evaluation import calibration, cross_validated, curve, fit, reliability

    unseen = cross_validated(bars, rules)
    slope, shift = calibration(unseen)
    unseen = unseen.with_columns(score=pl.col("score") * slope + shift)
    fitted = fit(bars, rules)
    weights = {name: getattr(fitted.weights, name) * slope for name in ("price", "volume", "trades")}
    return {
        "curve": curve(unseen, events, (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)).to_dicts(),
        "reliability": reliability(unseen).to_dicts(),
        "fitted": weights | {"bias": fitted.bias * slope + shift},
    }


def _rules(path: Path | None) -> Rules:
    """Return the rules of a file, or the default ones."""
    from analytics.rules import DEFAULT, load_rules

    return DEFAULT if path is None else load_rules(path)


def _as_text(report: dict[str, Any]) -> str:
    """Return a report as aligned tables."""
    lines = [f"{'':52}  precision  recall  hits  false  missed  delay min  false/day"]
    for name, found in [(f"rules {report['rules']}", report), *report["baselines"].items()]:
        lines.append(_line(name, found))
    more = report.get("cross_validation")
    if more:
        lines += ["", "each event judged by weights fitted on the others:"]
        lines += [_line(f"confidence from {row['confidence_min']:g}", row) for row in more["curve"]]
        lines += ["", "alarms by confidence: mean, share that is right, number"]
        lines += [f"{row['confidence']:10.2f} {row['right']:10.2f} {row['alarms']:6}" for row in more["reliability"]]
        lines += ["", "fitted: " + ", ".join(f"{name} {value:.2f}" for name, value in more["fitted"].items())]
    return "\n".join(lines)


def _line(name: str, found: dict[str, Any]) -> str:
    """Return one detector's outcome on a line."""
    precision, delay = found["precision"], found["median_delay_minutes"]
    return (
        f"{name:52}  {'-' if precision is None else f'{precision:.3f}':>9}  {found['recall']:6.3f}"
        f"  {found['true_positives']:4}  {found['false_positives']:5}  {found['false_negatives']:6}"
        f"  {'-' if delay is None else f'{delay:.1f}':>9}  {found['false_alarms_per_day']:9.3f}"
    )
