"""`tickline spikes fit`: fit the weights of spike detection to a user's own history.

Owns the arguments and the output. Imports slow modules itself, so that help is instant.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analytics.cli.evaluate_input import read_database, read_files
from analytics.cli.options import OutputFile, check_range, range_options
from ingest.terminal import progress_bar

if TYPE_CHECKING:
    from analytics.evaluation.own_weights.weights import FittedClass

RULES_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
USUAL_DAYS = 60  # calendar days, without --from


@click.command("fit")
@click.argument("names", metavar="FILE...|KEY...", nargs=-1, required=True)
@range_options
@click.option("--rules", "rules_file", type=RULES_FILE, help="TOML file of rules to begin with.  [default: built-in]")
@click.option("--output", type=OutputFile(), required=True, help="TOML file to write.")
def fit_command(
    *, names: tuple[str, ...], start: datetime | None, end: datetime | None, rules_file: Path | None, output: Path
) -> None:
    """Fit the weights of each class to 20 or more days of bars, and write them as a file of rules.

    Of KEYs of the database (the last 60 days, or --from and --to) or of FILEs of bars, as `tickline spikes evaluate`
    takes them. A bar is right if the range of the next 15 minutes is above that of nine in ten of the same minutes of
    other days; labels of `tickline spikes label` count as 20 bars each. No weight becomes negative. The last third of
    the days is held out: a class gets new weights only if they are better there, and is fitted to all days then.
    Use the file with `tickline spikes find --rules FILE`.

    \b
    Examples:
      tickline spikes fit INFY TCS RELIANCE "NIFTY FUT" --output mine.toml
      tickline spikes fit bars.parquet --output mine.toml
    """
    from datetime import UTC

    from analytics.evaluation.history import DAY, read_history
    from analytics.evaluation.own_weights.rules_file import rules_text
    from analytics.evaluation.own_weights.weights import fit_all
    from analytics.signals.rules import load_rules

    check_range(start, end)
    rules = load_rules(rules_file)
    labels = None
    if all(Path(name).is_file() for name in names):
        frame = read_files(names, is_history=True)
    else:
        frame, labels = read_database(names, start or datetime.now(UTC) - timedelta(days=USUAL_DAYS), end)
    bars = read_history(frame)
    with progress_bar() as bar:
        fitted = fit_all(bars, rules, labels, lambda done, total: bar("fitting classes", done, total))
    for one in fitted:
        click.echo(_line(one))
    if all(one.weights is None for one in fitted):
        click.echo(f"nothing is written to {output}: no class has new weights")
        return
    first, last = bars[DAY].min(), bars[DAY].max()
    output.write_text(rules_text(fitted, first, last), encoding="utf-8")  # type: ignore[arg-type]
    click.echo(f"wrote {output}: use it with `tickline spikes find --rules {output}`")


def _line(one: FittedClass) -> str:
    """Return what became of a class."""
    counted = f"{one.name}: {one.instruments} instruments, {one.days} days, {one.bars} bars that could fire: "
    if one.held_out is None or one.held_out["value"] is None:
        return counted + ("new weights" if one.weights else "weights as they are") + f", {one.reason}"
    low, high = (f"{one.held_out[end]:+.3f}" if one.held_out[end] is not None else "?" for end in ("low", "high"))
    shown = f"{one.held_out['value']:+.3f} ({low} to {high}) of the highest scores are right more often"
    return counted + ("new weights" if one.weights else "weights as they are") + f", {one.reason}: {shown}"
