"""`tickline spikes evaluate`: judge the detector.

Owns the arguments and the output. Imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analytics.cli.evaluate_input import labelled, read_database, read_files, read_truth_file
from analytics.cli.options import check_range, range_options
from ingest.terminal import progress_bar

if TYPE_CHECKING:
    import polars as pl

    from analytics.signals.rules import Rules

MATCHED = "(same number of alarms)"
RULES_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("names", metavar="FILE...|KEY...", nargs=-1)
@click.option("--history", "is_history", is_flag=True, help="Judge plain bars, also if a file has labels.")
@range_options
@click.option("--rules", "rules_file", type=RULES_FILE, help="TOML file of rules.  [default: built-in rules]")
@click.option(
    "--cross-validate", is_flag=True, help="Labelled events: also judge each by weights fitted on the others."
)
@click.option(
    "--days-min",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="History: market days before the first judged one.",
)
@click.option(
    "--draws",
    type=click.IntRange(0, 200),
    default=5,
    show_default=True,
    help="History: how often volume is shuffled in each of two ways.",
)
@click.option("--labels", "is_labels", is_flag=True, help="History: of all instruments that have labels of people.")
@click.option("--power", "is_power", is_flag=True, help="Plant events of known size into a made-up market.")
@click.option(
    "--class",
    "classes",
    type=click.Choice(("equity", "index", "future", "option")),
    multiple=True,
    help="Power: only this class; may be repeated.  [default: all]",
)
@click.option(
    "--instruments",
    type=click.IntRange(5, 2000),
    default=40,
    show_default=True,
    help="Power: instruments of a class; each gets one event of each kind and size.",
)
@click.option(
    "--false-alarms",
    "rate",
    type=click.FloatRange(0, 10, min_open=True),
    default=0.1,
    show_default=True,
    help="Power: how many a day and instrument to allow. A budget of 20 a day for 2,000 instruments is 0.01.",
)
@click.option(
    "--truth",
    "truth_file",
    type=RULES_FILE,
    help="History: also say which spikes were found that `tickline simulate --truth` planted. Without KEY: theirs.",
)
@click.option("--ist", "is_ist", is_flag=True, help="History: times without a zone are Indian, not UTC.")
@click.option("--as-index", is_flag=True, help="History: take the volume away and judge everything as an index.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of what is drawn.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def evaluate_command(
    *,
    names: tuple[str, ...],
    is_history: bool,
    start: datetime | None,
    end: datetime | None,
    rules_file: Path | None,
    cross_validate: bool,
    days_min: int,
    draws: int,
    is_labels: bool,
    is_power: bool,
    classes: tuple[str, ...],
    instruments: int,
    rate: float,
    truth_file: Path | None,
    is_ist: bool,
    as_index: bool,
    seed: int,
    form: str,
) -> None:
    """Judge the rules on labelled events, on a history without labels, or on planted events.

    A FILE is Parquet or CSV. With columns event, bucket, open, high, low, close, volume, announced_at (trades if known)
    it has labelled events: an alarm from 5 minutes before to 10 minutes after announced_at is a hit. Alarms within
    60 minutes of each other count as one. Alarms up to 180 minutes after the announcement are not false alarms.

    With columns instrument_key (or instrument, symbol), bucket (or datetime, timestamp, time), open, high, low, close,
    volume (trades, oi, iv, instrument_class if known) it is a history; KEYs are read from the database, between --from
    and --to. Each day is judged by what was known before it. The report says how often alarms begin, how often they
    would if the volume were that of another day (the null), and what followed them in 5, 15 and 60 minutes, against the
    same minute of days without an alarm. In brackets are 95 % intervals, in which days (or labelled events) are drawn
    again. Labels of `tickline spikes label` count too.

    --power needs no data: it plants events of known kind and size into a made-up market, and says which share is
    found within 5 minutes at a fixed rate of false alarms, and at the rules' own threshold. A size of 8 is a move (of
    price, implied volatility or open interest) of 8 deviations of a usual minute, and 8 times the usual volume.

    \b
    Examples:
      tickline spikes evaluate events.parquet
      tickline spikes evaluate bars.parquet --format json
      tickline spikes evaluate INFY "NIFTY FUT" --from -40d
      tickline spikes evaluate --labels
      tickline spikes evaluate --power --class equity
    """
    from analytics.signals.rules import load_rules
    from analytics.signals.settings import SignalSettings
    from ingest.database.settings import load

    rules = load(SignalSettings).applied_to(load_rules(rules_file))
    check_range(start, end)
    if is_power:
        if names or start or end or is_history or is_labels or as_index or is_ist or truth_file or cross_validate:
            raise click.UsageError("--power makes its own market: omit FILE, KEY, range and the options of others")
        from analytics.cli.evaluate_text import power_text

        report = _power(rules, classes, instruments, rate, seed)
        click.echo(json.dumps(report, indent=2) if form == "json" else power_text(report))
        return
    truth = None if truth_file is None else read_truth_file(truth_file)
    if truth is not None and not names:
        names = tuple(truth["instrument_key"].unique().sort())
    if is_labels:
        if names:
            raise click.UsageError("--labels names the instruments: omit FILE or KEY; labels of a KEY count anyhow")
        names, start, end = labelled(start, end)
    if not names:
        raise click.UsageError(
            "nothing to judge: give a FILE of events or bars, KEYs of the database, --labels or --power"
        )
    from analytics.market_time import MARKET_ZONE

    zone = MARKET_ZONE.key if is_ist else "UTC"
    labels = None
    if all(Path(name).is_file() for name in names):
        frame = read_files(names, is_history=is_history, zone=zone)
    else:
        frame, labels = read_database(names, start, end)
    if "announced_at" in frame.columns and not is_history:
        from analytics.cli.evaluate_text import labelled_text
        from analytics.evaluation.labelled import read_events

        report = _labelled(read_events(frame), rules, cross_validate=cross_validate)
        click.echo(json.dumps(report, indent=2) if form == "json" else labelled_text(report))
        return
    if cross_validate:
        raise click.UsageError("--cross-validate needs labelled events: a history has no labels to fit weights on")
    from analytics.cli.evaluate_text import history_text
    from analytics.evaluation.history import read_history
    from analytics.evaluation.history_report import Settings, judge_history
    from analytics.evaluation.rule_detector import RuleDetector

    bars = read_history(frame, as_index=as_index, zone=zone)
    with progress_bar() as bar:
        report = judge_history(
            bars,
            RuleDetector(rules),
            Settings(days_min=days_min, draws=draws, seed=seed),
            lambda done, total: bar("judging days", done, total),
            labels=labels,
            truth=truth,
        )
    click.echo(json.dumps(report, indent=2) if form == "json" else history_text(report))


def _power(rules: Rules, classes: tuple[str, ...], instruments: int, rate: float, seed: int) -> dict[str, Any]:
    """Return the power of the rules, by class."""
    from analytics.evaluation.classes import CLASSES
    from analytics.evaluation.planted_events.power import Settings, cells, power_of
    from analytics.evaluation.rule_detector import RuleDetector

    settings = Settings(instruments=instruments, rate=rate, seed=seed)
    detector = RuleDetector(rules)
    chosen = [kind for kind in CLASSES if not classes or kind in classes]
    total, done_before, found = sum(cells(kind, settings) for kind in chosen), 0, {}
    with progress_bar() as bar:
        for kind in chosen:

            def step(done: int, _: int, kind: str = kind, before: int = done_before) -> None:
                bar(f"planting events: {kind}", before + done, total)

            found[kind] = power_of(detector, kind, settings, step)
            done_before += cells(kind, settings)
    return {"detector": detector.name, "seed": seed, "classes": found}


def _labelled(events: pl.DataFrame, rules: Rules, *, cross_validate: bool) -> dict[str, Any]:
    """Return how the rules do on labelled events, next to the baselines."""
    import polars as pl

    from analytics.evaluation.fitting import scored
    from analytics.evaluation.labelled import baselines, difference, intervals, judge, matched_baselines
    from analytics.evaluation.reliability import reliability

    bars = scored(events, rules)
    alarms = bars.filter(1 / (1 + (-pl.col("score")).exp()) >= rules.confidence_min)
    mine = judge(alarms, events)
    others = baselines(events)
    beside = {name: judge(found, events).as_dict() for name, found in others.items()}
    for name, (threshold, found) in matched_baselines(events, mine.true_positives + mine.false_positives).items():
        others[f"{name} {MATCHED}"] = found
        beside[f"{name} {MATCHED}"] = judge(found, events).as_dict() | {"threshold": threshold}
    report = mine.as_dict() | {"rules": rules.name, "intervals": intervals(alarms, events), "baselines": beside}
    report["differences"] = {name: difference(alarms, found, events) for name, found in others.items()}
    report["calibration"] = reliability(bars)
    if cross_validate:
        report |= {"cross_validation": _cross_validation(bars, events, rules, others)}
    return report


def _cross_validation(
    bars: pl.DataFrame, events: pl.DataFrame, rules: Rules, baselines: dict[str, pl.DataFrame]
) -> dict[str, Any]:
    """Return curve, differences, calibration and fitted weights, each event judged by weights fitted on the others."""
    import polars as pl

    from analytics.evaluation.fitting import calibrated, calibration, cross_validated, fit
    from analytics.evaluation.labelled import curve, difference, intervals
    from analytics.evaluation.reliability import reliability

    raw = cross_validated(bars, rules)
    unseen = calibrated(raw)
    slope, shift = calibration(raw)
    fitted = fit(bars, rules)
    alarms = unseen.filter(1 / (1 + (-pl.col("score")).exp()) >= rules.confidence_min)
    own = {"price": fitted.other.price} | fitted.other.confirm[0]
    weights = {name: weight * slope for name, weight in own.items()}
    return {
        "curve": curve(unseen, events, (0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)).to_dicts(),
        "intervals": intervals(alarms, events),
        "differences": {name: difference(alarms, found, events) for name, found in baselines.items()},
        "calibration": reliability(unseen),
        "fitted": weights | {"bias": fitted.other.bias * slope + shift},
    }
