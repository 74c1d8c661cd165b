"""What a minute usually brings, by earlier days; and the file it is kept in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.feed.frame_rate import FrameRate, Verdict
from ingest.feed.usual_rate import DAYS_KNOWN, SLOW_SHARE, UsualRates
from ingest.feed.usual_rate_file import FILE, load_usual_rates, store_usual_rates
from ingest.settings import Settings, settings

OPEN = datetime(2026, 11, 18, 3, 45, tzinfo=UTC)


def learnt(*rates: float, keys: int = 100) -> UsualRates:
    """One rate a day, the last yesterday."""
    usual_rates = UsualRates()
    for ago, rate in zip(range(len(rates), 0, -1), rates, strict=True):
        usual_rates.learn(OPEN - timedelta(days=ago), rate, keys)
    return usual_rates


def test_usual_is_known_after_some_days_at_that_minute_and_for_alike_keys() -> None:
    assert learnt(*[6.0] * (DAYS_KNOWN - 1)).usual(OPEN, 100) is None
    usual_rates = learnt(*[6.0] * DAYS_KNOWN)
    usual = usual_rates.usual(OPEN, 110)
    assert usual is not None and usual.rate == pytest.approx(6.0) and usual.slow_below == pytest.approx(6 * SLOW_SHARE)
    assert usual_rates.usual(OPEN + timedelta(minutes=1), 100) is None
    assert usual_rates.usual(OPEN, 200) is None


def test_usual_of_days_that_differ_allows_more_below() -> None:
    usual = learnt(6.0, 2.0, 6.0, 2.0, 6.0, 2.0).usual(OPEN, 100)
    assert usual is not None and usual.rate == pytest.approx(4.0, abs=0.1) and usual.slow_below < 0


def test_usual_learns_each_day_once_and_forgets_slowly() -> None:
    usual_rates = learnt(*[6.0] * 5)
    for _ in range(50):
        usual_rates.learn(OPEN, 3.0, 100)
    usual = usual_rates.usual(OPEN, 100)
    assert usual is not None and 5.0 < usual.rate < 6.0


def test_usual_of_another_number_of_keys_is_learnt_anew() -> None:
    usual_rates = learnt(*[6.0] * 5)
    usual_rates.learn(OPEN, 60.0, 1_000)
    assert usual_rates.usual(OPEN, 100) is None


def test_pace_below_what_earlier_days_had_is_slow_though_it_never_had_more() -> None:
    def last(usual: UsualRates | None) -> Verdict:
        pace = FrameRate()
        pace.begin(0, 0.0)
        found = Verdict.WELL
        for second in range(1, 200):
            found = pace.look(second * 3, float(second), usual.usual(OPEN, 100) if usual else None)
        return found

    assert last(None) is Verdict.WELL
    assert last(learnt(*[6.0] * 5)) is Verdict.SLOW
    assert last(learnt(*[3.3] * 5)) is Verdict.WELL


def test_pace_time_that_nobody_looked_at_is_no_silence() -> None:
    pace = FrameRate()
    pace.begin(0, 0.0)
    for second in range(1, 120):
        pace.look(second * 6, float(second))
    assert pace.look(119 * 6, 420.0) is Verdict.WELL  # the machine slept; its frames wait in the socket
    assert {pace.look(119 * 6, 420.0 + second) for second in range(1, 60)} >= {Verdict.QUIET, Verdict.DEAD}


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    return settings(home=tmp_path)


def test_habits_are_kept_by_collector_and_address(config: Settings, tmp_path: Path) -> None:
    store_usual_rates(config, {"1": learnt(*[6.0] * 5)})
    other = settings(home=tmp_path, upstox_api_url="http://127.0.0.1:8787")
    assert load_usual_rates(other) == {}
    store_usual_rates(other, {"1": learnt(1.0)})
    assert load_usual_rates(config) == {"1": learnt(*[6.0] * 5)}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"default https://api.upstox.com": {"1": {"555": [1]}}}'])
def test_habits_that_cannot_be_read_are_learnt_anew(
    config: Settings, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text(text)
    assert load_usual_rates(config) == {}
    assert "learnt again" in caplog.text
    store_usual_rates(config, {"1": UsualRates()})
    assert load_usual_rates(config) == {"1": UsualRates()}
