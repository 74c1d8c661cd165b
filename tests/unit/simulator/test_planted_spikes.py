"""Planted spikes of the made-up market: as large as planted, and nothing else changes."""

from __future__ import annotations

from collections import defaultdict
from datetime import time
from functools import cache
from itertools import pairwise

import pytest

from ingest.errors import ConfigError
from ingest.simulator.exchange import snapshots
from ingest.simulator.exchange.instruments import make_universe
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.planted_truth import random_plant, truth_rows
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.source import MarketFrame
from tests.unit.simulator.test_market import DAY, FUTURE, SHORT, played

OPTION, OTHER_OPTION, SHARE, INDEX = "NSE_FO|35010", "NSE_FO|35012", "NSE_EQ|INE002A01018", "NSE_INDEX|Nifty 50"
PLANTS = (
    PlantedSpike(FUTURE, 3, 2.0, 10.0),
    PlantedSpike(SHARE, 1, 0.0, 30.0),
    PlantedSpike("NSE_EQ|INE040A01034", 2, 0.0, 0.2),
    PlantedSpike(OPTION, 1, 0.0, 1.0, iv_points=4.0),
    PlantedSpike(OTHER_OPTION, 2, 0.0, 1.0, oi_percent=-8.0),
    PlantedSpike(INDEX, 1, 1.0, 1.0),
)


@cache
def planted() -> tuple[GeneratedMarket, list[MarketFrame]]:
    """The short session with a spike of each kind, each in an instrument of its own."""
    market = GeneratedMarket(SHORT, seed=3, instruments=50, rate=100, plant=PLANTS)
    return market, list(market.frames())


def seen(frames: list[MarketFrame]) -> dict[str, list[tuple[int, bytes]]]:
    """The updates of each instrument with their times."""
    found = defaultdict(list)
    for frame in frames:
        for key, feed in frame.feeds.items():
            found[key].append((frame.current_ms, feed.SerializeToString()))
    return found


def test_market_planted_spike_moves_price_and_volume_of_its_minute_only() -> None:
    calm = {bar[:2]: bar for bar in played()[0].truth()}
    bars = [bar for bar in planted()[0].truth() if bar.instrument_key == FUTURE]
    usual = calm[FUTURE, bars[3].minute_ms].volume
    assert 5 * usual < bars[3].volume < 20 * usual
    assert 1.5 < (bars[3].close / bars[3].open - 1) * 100 < 2.5
    assert bars[4].volume < 3 * usual


def test_market_planted_spikes_leave_every_other_tick_as_it_is() -> None:
    calm, with_spikes = seen(played()[1]), seen(planted()[1])
    begins = {spike.instrument_key: SHORT.open_ms + spike.minute * 60_000 for spike in PLANTS}
    assert set(with_spikes) == set(calm)
    for key in calm:
        own, before = with_spikes[key], calm[key]
        if key in begins:
            assert own != before
            own, before = ([one for one in some if one[0] < begins[key]] for some in (own, before))
        assert own == before, key


def test_market_planted_spike_leaves_other_ticks_also_where_a_block_has_several_slices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "ROWS_PER_SLICE", 40)
    session = TradingDay(DAY, cash_closes=time(9, 16), derivatives_close=time(9, 16))
    plants = ([], [PlantedSpike(FUTURE, 0, 1.0, 50.0)])
    markets = [GeneratedMarket(session, seed=3, instruments=20, rate=50, plant=plant) for plant in plants]
    calm, with_spike = (seen(list(market.frames())) for market in markets)
    assert {key for key in calm if calm[key] != with_spike[key]} == {FUTURE}


def test_market_planted_sizes_are_as_planted() -> None:
    last = []
    for frames in (played()[1], planted()[1]):
        last.append({key: feed.fullFeed.marketFF for frame in frames for key, feed in frame.feeds.items()})
    calm, found = last
    assert found[OPTION].iv - calm[OPTION].iv == pytest.approx(0.04, abs=1e-6)
    assert found[OPTION].ltpc.ltp > calm[OPTION].ltpc.ltp and found[OPTION].vtt == calm[OPTION].vtt
    assert found[OTHER_OPTION].oi / calm[OTHER_OPTION].oi == pytest.approx(0.92, abs=0.005)
    assert found[OTHER_OPTION].vtt - calm[OTHER_OPTION].vtt <= 10 * 65  # at most a lot in each block
    bars = [{bar[:2]: bar for bar in market.truth()} for market in (played()[0], planted()[0])]
    at = SHARE, SHORT.open_ms + 60_000
    usual = (bars[1][at].volume - bars[0][at].volume) / 29
    assert 0.5 * bars[0][at].volume < usual < 2 * bars[0][at].volume
    less = "NSE_EQ|INE040A01034", SHORT.open_ms + 120_000
    assert bars[1][less].volume == pytest.approx(0.2 * bars[0][less].volume, rel=0.05)


@pytest.mark.parametrize(
    ("spike", "complaint"),
    [
        (PlantedSpike(SHARE, 1, 0.0, 1.0, iv_points=1.0), "into an option"),
        (PlantedSpike(INDEX, 1, 0.0, 1.0, oi_percent=1.0), "into a derivative"),
    ],
)
def test_market_refuses_spikes_of_what_an_instrument_has_not(spike: PlantedSpike, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        GeneratedMarket(SHORT, instruments=50, rate=100, plant=[spike])


def test_market_random_spikes_are_of_the_seed_apart_and_their_truth_is_complete() -> None:
    session, contracts = TradingDay(DAY), make_universe(50, DAY)
    plant = random_plant(contracts, session, 100, seed=4)
    assert plant == random_plant(contracts, session, 100, seed=4) != random_plant(contracts, session, 100, seed=5)
    rows = truth_rows(plant, contracts, session)
    assert {row["class"] for row in rows} == {"equity", "index", "future", "option"}
    assert {row["kind"] for row in rows} == {"price", "volume", "price+volume", "iv", "oi"}
    assert rows[0]["bucket"] == "2026-01-05T04:20:00Z" and rows[0]["minute"] == 35
    minutes = defaultdict(list)
    for spike in plant:
        minutes[spike.instrument_key].append(spike.minute)
    assert all(b - a >= 65 for own in minutes.values() for a, b in pairwise(sorted(own)))
    GeneratedMarket(session, instruments=50, plant=plant)
    with pytest.raises(ConfigError, match="room for"):
        random_plant(contracts, session, 1000, seed=4)
