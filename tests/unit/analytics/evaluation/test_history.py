"""A history is judged day by day by what was known before, and a detector that knows more is found out."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import polars.testing
import pytest
from click.testing import CliRunner

from analytics.cli.evaluate import evaluate_command
from analytics.cli.evaluate_input import read_files
from analytics.cli.evaluate_text import history_text
from analytics.evaluation.detector import SCORED, onsets
from analytics.evaluation.forward import after, against_matched
from analytics.evaluation.history import DAY, read_history
from analytics.evaluation.history_report import Settings, judge_history
from analytics.evaluation.rule_detector import RuleDetector
from analytics.evaluation.shuffled import days_shuffled, minutes_shuffled
from analytics.evaluation.walk_forward import days_of, walk
from analytics.signals.rules import DEFAULT
from ingest.errors import ConfigError
from tests.unit.analytics.signals.test_spikes import RELIANCE, START, made, planted

DAYS, ROWS = 7, 90
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    """Quiet days of two instruments; from the fourth on each has a jump at another minute."""
    parts = []
    for number, key in enumerate((RELIANCE, "NSE_FO|1")):
        for day in range(DAYS):
            quiet = made(ROWS, key, seed=10 * number + day, start=START + timedelta(days=day))
            parts.append(planted(quiet, 40 + 3 * day, move=0.02, volume=20) if day >= 3 else quiet)
    return read_history(pl.concat(parts))


class Recorder:
    """A detector that writes down what it is given, and fires on a high volume."""

    name, context_days = "recorder", 2

    def __init__(self) -> None:
        self.fitted_on: list[list[date]] = []
        self.judged: list[list[date]] = []

    def fit(self, history: pl.DataFrame) -> Recorder:
        self.fitted_on.append(history[DAY].unique().sort().to_list())
        return self

    def score(self) -> pl.Expr:
        return pl.col("volume").cast(pl.Float64)

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        self.judged.append(bars[DAY].unique().sort().to_list())
        columns = {"confidence": pl.lit(0.5), "rising": pl.col("close") > pl.col("open")}
        marked = bars.with_columns(score=self.score().over("instrument_key"), **columns)
        return marked.with_columns(onset=(pl.col("score") > 5000).fill_null(False)).select(*SCORED)


class Jump(Recorder):
    """The same, of a minute in which the price moved too."""

    def score(self) -> pl.Expr:
        return pl.when((pl.col("close") / pl.col("close").shift(1) - 1).abs() > 0.01).then(pl.col("volume"))


class Leaking(Recorder):
    """The same with a score out of the next minute."""

    def score(self) -> pl.Expr:
        return pl.col("volume").cast(pl.Float64).shift(-1)


def test_walk_fits_on_earlier_days_only_and_judges_with_its_context(bars: pl.DataFrame) -> None:
    detector, days = Recorder(), bars[DAY].unique().sort().to_list()
    [scored] = walk(bars, detector, 3)
    assert scored[DAY].unique().sort().to_list() == days[3:]
    assert detector.fitted_on == [days[:at] for at in range(3, DAYS)]
    assert detector.judged == [days[at - 2 : at + 1] for at in range(3, DAYS)]


def test_walk_changing_the_future_changes_nothing_before_it(bars: pl.DataFrame) -> None:
    change = bars[DAY].unique().sort()[5]
    later = pl.col(DAY) >= change
    changed = bars.with_columns(
        volume=pl.when(later).then(pl.col("volume") * 50).otherwise("volume"),
        **{name: pl.when(later).then(pl.col(name) * 3).otherwise(name) for name in ("open", "high", "low", "close")},
    )
    detector = RuleDetector(DEFAULT)
    [before], [after_change] = walk(bars, detector, 3), walk(changed, detector, 3)
    earlier = pl.col(DAY) < change
    assert before.filter(earlier, pl.col("onset")).height > 0
    pl.testing.assert_frame_equal(before.filter(earlier), after_change.filter(earlier), check_exact=True)
    assert not before.filter(~earlier).equals(after_change.filter(~earlier))


def test_report_finds_a_planted_leak_and_clears_the_rules(bars: pl.DataFrame) -> None:
    settings = Settings(draws=0)  # the nulls have a test of their own
    found = judge_history(bars, Leaking(), settings)["look_ahead"]
    assert found["checked"] > 0 < found["different"]
    for detector in (Recorder(), RuleDetector(DEFAULT)):
        assert judge_history(bars, detector, settings)["look_ahead"]["different"] == 0


def test_report_of_planted_jumps_has_their_rate_their_null_and_what_followed(bars: pl.DataFrame) -> None:
    report = judge_history(bars, Jump(), Settings(draws=3))
    json.dumps(report, allow_nan=False)
    for name in ("equity", "future"):
        found = report["classes"][name]
        assert (found["instruments"], found["instrument_days"], found["alarms"]) == (1, 4, 4)
        assert found["per_day"] == {"value": 1.0, "low": None, "high": None}  # 4 days are too few for an interval
        for kind in ("null_minutes", "null_days"):
            assert found[kind]["per_day"]["value"] < 0.5
    assert {row["instrument_key"] for row in report["instruments_judged"]} == {RELIANCE, "NSE_FO|1"}
    others = [one for name, one in report["detectors"].items() if name.endswith("as many alarms")]
    assert len(others) == 2 and all(one["alarms"] <= 8 for one in others)


def test_report_of_an_index_has_no_null_and_says_its_class(bars: pl.DataFrame) -> None:
    index = read_history(bars.drop("instrument_class", DAY, "earlier_days"), as_index=True)
    report = judge_history(index, RuleDetector(DEFAULT))
    assert set(report["classes"]) == {"index"} and "null_days" not in report["classes"]["index"]


def test_instrument_is_judged_only_after_its_own_earlier_days(bars: pl.DataFrame) -> None:
    late = bars.filter((pl.col("instrument_key") == RELIANCE) | (pl.col("earlier_days") >= 2))
    again = read_history(late.drop("instrument_class", DAY, "earlier_days"))
    days = {one.day: one.scored(one.bars) for one in days_of(again, RuleDetector(DEFAULT), 3)}
    counts = [scored["instrument_key"].n_unique() for scored in days.values()]
    assert counts == [1, 1, 2, 2]


@pytest.mark.parametrize("shuffle", [minutes_shuffled, days_shuffled])
def test_shuffled_volume_is_of_the_same_minute_of_another_day(shuffle, bars: pl.DataFrame) -> None:  # type: ignore[no-untyped-def]
    found = shuffle(bars, np.random.default_rng(4))
    assert found.drop("volume").equals(bars.drop("volume"))
    at = ["instrument_key", pl.col("bucket").dt.time().alias("at")]
    assert (found["volume"] != bars["volume"]).mean() > 0.95  # type: ignore[operator]
    sums = [frame.group_by(at).agg(pl.col("volume").sort()).sort("instrument_key", "at") for frame in (found, bars)]
    assert sums[0].equals(sums[1])
    days = [frame.group_by("instrument_key", DAY).agg(pl.col("volume")) for frame in (found, bars)]
    whole = set(map(tuple, days[0]["volume"].to_list())) == set(map(tuple, days[1]["volume"].to_list()))
    assert whole == (shuffle is days_shuffled)


def test_what_follows_is_measured_within_the_day_and_against_days_without_an_alarm() -> None:
    parts = []
    for day in range(6):
        quiet = made(40, seed=day, start=START + timedelta(days=day)).with_columns(
            open=100.0, high=100.1, low=100.0, close=100.0, volume=pl.lit(10)
        )
        if day == 2:  # after minute 20 the price rises by 1 a minute, at 3 times the volume
            up = pl.int_range(pl.len()).cast(pl.Float64) - 20
            rises = {name: pl.col(name) + up.clip(lower_bound=0) for name in ("open", "high", "low", "close")}
            quiet = quiet.with_columns(**rises, volume=pl.when(up > 0).then(30).otherwise(10))
        parts.append(quiet)
    bars = read_history(pl.concat(parts))
    alarm = bars.filter(pl.col("bucket") == START + timedelta(days=2, minutes=20)).with_columns(rising=True)
    found = against_matched(alarm, after(bars, MINUTE)).row(0, named=True)
    assert found["others"] == 5 and found["right_5"] is True and found["large_5"] is True
    expected = np.log(np.log(105.1 / 101) / np.log(100.1 / 100))
    assert found["range_5"] == pytest.approx(expected)
    assert found["volume_5"] == pytest.approx(np.log(151 / 51))
    assert found["range_60"] is None  # the day has no 60 minutes left


def test_labels_of_people_judge_all_detectors_and_differences_are_paired(bars: pl.DataFrame) -> None:
    def said(day: int, minute: int, verdict: str, key: str = RELIANCE) -> dict[str, object]:
        return {"instrument_key": key, "bucket": START + timedelta(days=day, minutes=minute), "verdict": verdict}

    rows = [said(day, 40 + 3 * day, "right") for day in range(3, 7)] + [said(3, 49, "missed", "NSE_FO|1")]
    rows += [said(4, 5, "missed"), said(5, 5, "wrong"), said(6, 40 + 3 * 6, "wrong", "NSE_FO|1"), said(0, 5, "wrong")]
    labels = pl.DataFrame(rows)
    report = judge_history(bars, Jump(), Settings(draws=0), labels=labels)
    found = report["labels"]
    assert found["labels"] == {"right": 4, "wrong": 2, "missed": 2}  # the first day is not judged
    mine = found["detectors"]["recorder"]
    assert mine["found"]["value"] == pytest.approx(5 / 6) and mine["right"]["value"] == pytest.approx(5 / 6)
    assert all(
        set(one["difference"]) == {"found", "right"} for name, one in found["detectors"].items() if name != "recorder"
    )
    assert "by 4 right, 2 wrong, 2 missed labels" in history_text(report)
    assert judge_history(bars, Jump(), Settings(draws=0), labels=labels.clear())["labels"] is None


def test_onsets_within_an_hour_are_one_alarm() -> None:
    times = [START + timedelta(minutes=at) for at in (0, 30, 90, 151)]
    scored = pl.DataFrame({"instrument_key": "a", "bucket": times, "score": [2.0, 2.0, 2.0, 2.0]})
    assert onsets(scored, 1.0)["bucket"].to_list() == [times[0], times[3]]


def test_history_says_what_is_wrong_and_what_to_give(bars: pl.DataFrame) -> None:
    with pytest.raises(ConfigError, match="'close' is missing"):
        read_history(bars.drop("close"))
    with pytest.raises(ConfigError, match="two bars"):
        read_history(pl.concat([bars, bars.head(1)]))
    with pytest.raises(ConfigError, match="--days-min 6"):
        judge_history(bars, RuleDetector(DEFAULT), Settings(days_min=9))


def test_history_takes_the_names_and_times_of_other_programs(bars: pl.DataFrame) -> None:
    foreign = bars.select(
        pl.col("instrument_key").alias("symbol"),
        pl.col("bucket").dt.convert_time_zone("Asia/Kolkata").dt.replace_time_zone(None).alias("datetime"),
        *("open", "high", "low", "close", "volume", "instrument_class"),
    )
    found = read_history(foreign, zone="Asia/Kolkata")
    assert found.select(sorted(found.columns)).equals(bars.select(sorted(found.columns)))


def test_command_judges_a_file_of_bars_as_a_table_and_as_json(bars: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "bars.parquet"
    bars.drop("instrument_class", DAY, "earlier_days").write_parquet(file)
    table = CliRunner().invoke(evaluate_command, [str(file), "--draws", "0"], catch_exceptions=False)
    assert table.exit_code == 0 and "looks ahead: none" in table.output
    shown = CliRunner().invoke(evaluate_command, [str(file), "--draws", "1", "--format", "json"])
    assert json.loads(shown.output)["days"]["judged"] == 4
    wrong = CliRunner().invoke(evaluate_command, [str(file), "--cross-validate"])
    assert wrong.exit_code == 2 and "labelled" in wrong.output


def test_files_that_name_their_columns_differently_are_judged_together(bars: pl.DataFrame, tmp_path: Path) -> None:
    one, other, strange = (str(tmp_path / name) for name in ("one.parquet", "other.csv", "strange.parquet"))
    plain = bars.drop("instrument_class", DAY, "earlier_days")
    is_first = pl.col("instrument_key") == RELIANCE
    plain.filter(is_first).write_parquet(one)
    local = pl.col("bucket").dt.convert_time_zone("Asia/Kolkata").dt.replace_time_zone(None)
    second = plain.filter(~is_first).with_columns(local, pl.col("volume").cast(pl.Float64))
    second.rename({"instrument_key": "symbol", "bucket": "datetime"}).write_csv(other)
    both = read_history(read_files((one, other), is_history=True, zone="Asia/Kolkata"))
    polars.testing.assert_frame_equal(both.select(bars.columns), bars.with_columns(pl.col("volume").cast(pl.Float64)))
    second.rename({"instrument_key": "contract"}).write_parquet(strange)
    said = CliRunner().invoke(evaluate_command, ["--history", one, strange])
    assert isinstance(said.exception, ConfigError)
    assert f"file {strange!r}: column 'instrument_key' (or instrument, symbol) is missing" in str(said.exception)
    labelled = plain.with_columns(announced_at=pl.col("bucket"))
    labelled.write_parquet(strange)
    with pytest.raises(ConfigError, match="'announced_at', which others have"):
        read_files((one, strange))
    assert read_files((one, strange), is_history=True).height == bars.height + bars.filter(is_first).height
