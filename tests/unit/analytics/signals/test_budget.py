"""What a budget of signals gives: twenty days of 2,000 made-up instruments, with planted events counted apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from analytics.evaluation.intervals import Interval
from analytics.evaluation.planted_events.events import Event
from analytics.evaluation.planted_events.market import CHAIN, Market
from analytics.evaluation.planted_events.power import FIRST_MINUTE, LAST_MINUTE, Settings, power_of
from analytics.evaluation.planted_events.truth import judge_truth
from analytics.evaluation.rule_detector import RuleDetector
from analytics.factors.factors import factors
from analytics.market_time import day_start, market_day
from analytics.schema import KEY
from analytics.signals.calibration import Calibration
from analytics.signals.detection import fire
from analytics.signals.earlier_days import Scored
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.live_detection import MINUTES
from analytics.signals.rules import DEFAULT, rules

BUDGET, TOLERANCE = 20, 4
RULES = rules(signals_per_day=BUDGET)
PARTS = {"equity": 800, "index": 50, "future": 350, "option": 800}
DAYS_BEFORE, DAYS = 8, 20  # `history_days` never has more market days than eight
POWER_TOLERANCE = 0.05  # the threshold of a curve rests on few alarms itself
CELLS = {  # what is planted: kind and size
    "equity": (("price+volume", 20.0), ("price+volume", 40.0), ("price", 40.0)),
    "index": (("price", 12.0),),
    "future": (("price+volume", 20.0), ("price+volume", 40.0)),
    "option": (("price", 12.0), ("iv", 40.0)),
}


class Part:
    """The instruments of one class, and the bars of their last days."""

    def __init__(self, kind: str, instruments: int) -> None:
        self.market = Market(kind, instruments, seed=11)
        self.days: deque[pl.DataFrame] = deque(maxlen=DAYS_BEFORE)

    def bars(self, day: pl.DataFrame) -> pl.DataFrame:
        """Return a day after the days that are read before it."""
        begin = day_start(day["bucket"].min()) - timedelta(days=RULES.history_days)  # type: ignore[arg-type]
        bars = pl.concat([*self.days, day]).filter(pl.col("bucket") >= begin).sort(KEY, "bucket")
        if self.market.kind != "option":
            return bars
        # Options of one underlying are one event.
        chain = (pl.col(KEY).str.slice(-6).cast(pl.Int64) // CHAIN).cast(pl.String)
        return bars.with_columns(underlying_key="chain " + chain)

    def planted(self, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the bars of the instruments that have an event on the current day, and the truth."""
        cells = CELLS[self.market.kind]
        events = []
        # One of ten instruments, and so of each chain: a second event of a chain within an hour would be the same one.
        for at, first in enumerate(range(0, len(self.market.keys), CHAIN)):
            minute, direction = int(rng.integers(FIRST_MINUTE, LAST_MINUTE)), int(rng.choice([-1, 1]))
            events.append(Event(first + int(rng.integers(CHAIN)), minute, *cells[at % len(cells)], direction))
        day, truth = self.market.day(events)
        named = truth.select(
            KEY, "bucket", pl.col("instrument_class").alias("class"), kind=pl.format("{} {}", "kind", "size")
        )
        return self.bars(day).join(truth.select(KEY), on=KEY, how="semi", maintain_order="left"), named


def scored_of(bars: Sequence[pl.DataFrame], day: date) -> Scored:
    """Return the bars that could fire, of frames without common instruments: as of all together, in less memory."""
    parts = [Scored.of(factors(one.lazy(), RULES.windows, MINUTES), RULES, day) for one in bars]
    return Scored(pl.concat([one.candidates for one in parts]), pl.concat([one.judged for one in parts]), day)


def events_of(scored: Scored, calibration: Calibration, day: pl.DataFrame) -> pl.DataFrame:
    """Return the events of a day, as `analytics.signals.find` finds them."""
    fired = with_events(fire(scored.candidates, RULES, calibration), EventBuilder(RULES))
    return fired.filter(pl.col("onset") & (pl.col("bucket") >= day_start(day["bucket"].min())))  # type: ignore[arg-type]


def alarms_of(events: pl.DataFrame) -> pl.DataFrame:
    """Return instrument, time and class of the leaders and of the members."""
    members = events.select("members", "instrument_class").explode("members").drop_nulls().unnest("members")
    return pl.concat(
        [part.select(KEY, "bucket", pl.col("instrument_class").cast(pl.String)) for part in (events, members)]
    )


def curve(rates: dict[str, float]) -> dict[tuple[str, str], Interval]:
    """Return the share of planted events that is found at a rate of false alarms, by class, kind and size."""
    found = {}
    for kind, cells in CELLS.items():
        settings = Settings(instruments=400, rate=rates[kind], sizes=tuple(sorted({size for _, size in cells})))
        for cell in power_of(RuleDetector(DEFAULT), kind, settings)["cells"]:
            if (cell["kind"], cell["size"]) in cells:
                found[kind, f"{cell['kind']} {cell['size']}"] = Interval(**cell["found"])
    return found


@pytest.mark.soak
def test_budget_of_twenty_gives_twenty_events_a_day_and_planted_ones_are_found_as_the_curve_says(
    record_property: Callable[[str, object], None],
) -> None:
    parts = [Part(kind, number) for kind, number in PARTS.items()]
    rng = np.random.default_rng(5)
    counts, false_alarms, alarms, truths = [], [], [], []
    for number in range(DAYS_BEFORE + DAYS):
        days = [part.market.day()[0] for part in parts]
        if number >= DAYS_BEFORE:
            today = market_day(days[0]["bucket"][0])
            quiet = scored_of([part.bars(day) for part, day in zip(parts, days, strict=True)], today)
            calibration = quiet.calibration(RULES)
            events = events_of(quiet, calibration, days[0])
            counts.append(events.height)
            false_alarms.append(alarms_of(events))
            planted = [part.planted(rng) for part in parts]
            alarms.append(alarms_of(events_of(scored_of([bars for bars, _ in planted], today), calibration, days[0])))
            truths += [truth for _, truth in planted]
        for part, day in zip(parts, days, strict=True):
            part.days.append(day)
            part.market.close()
    mean = sum(counts) / DAYS
    record_property("events on each day", counts)
    record_property("events a day", f"{mean:.1f}")
    of_class = dict(pl.concat(false_alarms).group_by("instrument_class").len().iter_rows())
    rates = {kind: max(of_class.get(kind, 0), 1) / (number * DAYS) for kind, number in PARTS.items()}
    for kind, rate in rates.items():
        record_property(f"{kind}: false alarms an instrument and day", f"{rate:.4f}")
    judged = judge_truth(pl.concat(alarms), pl.concat(truths), DAYS * sum(PARTS.values()) // CHAIN)
    expected = curve(rates)
    differs = []
    for row in judged["rows"]:
        found, said = Interval(**row["found"]), expected[row["class"], row["kind"]]
        text = f"{found.value:.3f} found, {said.value:.3f} ({said.low:.3f} to {said.high:.3f}) by the curve"
        record_property(f"{row['class']} {row['kind']}, {rates[row['class']]:.4f} false alarms a day", text)
        assert None not in (found.low, found.high, said.low, said.high)
        if found.high + POWER_TOLERANCE < said.low or said.high + POWER_TOLERANCE < found.low:  # type: ignore[operator]
            differs.append(row)
    assert abs(mean - BUDGET) <= TOLERANCE
    assert not differs
