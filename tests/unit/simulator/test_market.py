"""The made-up market: the same every time, and its parts hang together."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import defaultdict
from datetime import date, time
from functools import cache
from itertools import pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigError
from ingest.model.frames import FrameType
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.instruments import make_universe, monthly_expiries
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.option_pricing import RISK_FREE_RATE, option_greeks, option_price
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
from ingest.simulator.server.frame_bytes import entry, feed_response
from ingest.simulator.source import MarketFrame, MinuteBar
from tests.data import REPOSITORY

DAY = date(2026, 1, 5)
SHORT = TradingDay(DAY, cash_closes=time(9, 19), derivatives_close=time(9, 20))
FUTURE = "NSE_FO|35000"

DIGEST = """
import hashlib
from tests.unit.simulator.test_market import digest
print(digest(7), digest(8))
"""


@cache
def played() -> tuple[GeneratedMarket, list[MarketFrame]]:
    """A short session, played once for all tests that only look at it."""
    market = GeneratedMarket(SHORT, seed=3, instruments=50, rate=100)
    return market, list(market.frames())


def digest(seed: int) -> str:
    session = TradingDay(DAY, cash_closes=time(9, 16), derivatives_close=time(9, 16))
    frames = GeneratedMarket(session, seed=seed, instruments=20, rate=50).frames()
    whole = hashlib.sha256()
    for frame in frames:
        entries = [entry(key, feed) for key, feed in frame.feeds.items()]
        whole.update(feed_response(FrameType.LIVE_FEED, frame.current_ms, entries))
    return whole.hexdigest()


def updates_of(frames: list[MarketFrame]) -> dict[str, list[tuple[int, pb.MarketFullFeed]]]:
    found = defaultdict(list)
    for frame in frames:
        for key, feed in frame.feeds.items():
            if feed.fullFeed.HasField("marketFF"):
                found[key].append((frame.current_ms, feed.fullFeed.marketFF))
    return found


def test_market_same_seed_in_other_processes_gives_same_bytes() -> None:
    printed = set()
    for hash_seed in ("1", "2"):
        environment = os.environ | {
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]),
        }
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, timeout=180, check=True
        )
        printed.add(done.stdout)
    assert printed == {f"{digest(7)} {digest(8)}\n"}
    assert digest(7) != digest(8)


def test_market_played_twice_gives_same_frames() -> None:
    session = TradingDay(DAY, cash_closes=time(9, 16), derivatives_close=time(9, 17))
    market, again = (GeneratedMarket(session, seed=3, instruments=50, rate=100) for _ in range(2))
    frames = list(market.frames())
    list(again.frames())
    assert list(again.frames()) == frames
    assert again.truth() == market.truth()


def test_market_first_frame_is_opening_with_yesterdays_trades() -> None:
    market, frames = played()
    [opening] = market.opening()
    assert opening == frames[0]
    assert set(opening.feeds) == market.keys
    assert opening.current_ms < SHORT.open_ms
    for feed in opening.feeds.values():
        full = feed.fullFeed
        ltpc = full.marketFF.ltpc if full.HasField("marketFF") else full.indexFF.ltpc
        assert ltpc.ltt < SHORT.open_ms - 12 * 3_600_000
        assert ltpc.ltp == ltpc.cp > 0


def test_market_i1_equals_truth_and_covers_it() -> None:
    market, frames = played()
    truth = {bar[:2]: bar for bar in market.truth()}
    shown: dict[tuple[str, int], MinuteBar] = {}
    for frame in frames:
        for key, feed in frame.feeds.items():
            full = feed.fullFeed
            candles = full.marketFF.marketOHLC if full.HasField("marketFF") else full.indexFF.marketOHLC
            for candle in candles.ohlc:
                if candle.interval == "I1":
                    assert candle.ts + 60_000 <= frame.current_ms
                    bar = MinuteBar(key, candle.ts, candle.open, candle.high, candle.low, candle.close, candle.vol)
                    assert shown.setdefault(bar[:2], bar) == bar
    assert shown
    assert all(truth[name] == bar for name, bar in shown.items())
    # All but the last minute of each, which no later update tells of, and those that stayed silent.
    assert len(shown) > 0.7 * len(truth)


def test_market_truth_agrees_with_what_the_feed_shows_of_the_day() -> None:
    market, frames = played()
    last = {key: rows[-1][1] for key, rows in updates_of(frames).items()}
    bars = defaultdict(list)
    for bar in market.truth():
        bars[bar.instrument_key].append(bar)
    for key, own in bars.items():
        if key not in last:
            continue  # an index has no volume
        assert sum(bar.volume for bar in own) == last[key].vtt
        assert own[-1].close == last[key].ltpc.ltp
        [day] = [candle for candle in last[key].marketOHLC.ohlc if candle.interval == "1d"]
        assert (day.open, day.high, day.low) == (own[0].open, max(b.high for b in own), min(b.low for b in own))


def test_market_updates_never_step_back_and_quote_only_share_is_as_observed() -> None:
    _, frames = played()
    quotes = updates = 0
    for rows in updates_of(frames[1:]).values():
        # Before its first trade an instrument shows the last session's.
        today = [row for row in rows if row[1].ltpc.ltt >= SHORT.open_ms]
        for (before_ms, before), (now_ms, now) in pairwise(today):
            assert now.vtt >= before.vtt
            assert before.ltpc.ltt <= now.ltpc.ltt < now_ms
            assert now_ms > before_ms
            [day] = [candle for candle in now.marketOHLC.ohlc if candle.interval == "1d"]
            assert day.vol == before.vtt  # late by one update
            updates += 1
            quotes += now.vtt == before.vtt
    assert 0.45 < quotes / updates < 0.6


def test_market_feed_skips_most_trades() -> None:
    _, frames = played()
    rows = [row for row in updates_of(frames)[FUTURE] if row[1].ltpc.ltt >= SHORT.open_ms]
    shown = sum(now.ltpc.ltq for (_, before), (_, now) in pairwise(rows) if now.vtt > before.vtt)
    assert shown < 0.6 * (rows[-1][1].vtt - rows[0][1].vtt)


def test_market_kinds_of_instruments_carry_what_the_vendor_sends() -> None:
    market, frames = played()
    kinds = {contract.key: contract.kind for contract in market.contracts}
    for frame in frames:
        for key, feed in frame.feeds.items():
            full = feed.fullFeed
            if kinds[key] == "INDEX":
                assert full.HasField("indexFF")
                assert full.indexFF.ltpc.ltt % 1000 == full.indexFF.ltpc.ltq == 0
                continue
            best = full.marketFF.marketLevel.bidAskQuote
            assert len(best) == 5
            assert all(0 <= level.bidP < level.askP for level in best)
            assert full.marketFF.HasField("optionGreeks")
            assert bool(full.marketFF.optionGreeks.vega) == (kinds[key] in ("CE", "PE"))
            assert bool(full.marketFF.oi) == (kinds[key] != "EQ")
            assert round(full.marketFF.ltpc.ltp * 100) % 5 == 0


def test_market_options_keep_put_call_parity() -> None:
    market, frames = played()
    latest: dict[str, pb.Feed] = {}
    pairs = defaultdict(dict)
    for contract in market.contracts:
        if contract.sign:
            pairs[contract.underlying, contract.expiry, contract.strike][contract.kind] = contract
    complete = [pair for pair in pairs.values() if len(pair) == 2]
    checked = 0
    for frame in frames:
        if frame.current_ms >= SHORT.cash_close_ms:
            break  # the index stands still from here on
        latest.update(frame.feeds)
        for pair in complete:
            call, put = pair["CE"], pair["PE"]
            if call.key not in frame.feeds or put.key not in frame.feeds:
                continue  # only quotes of one moment can be compared
            mids = [
                (best.bidP + best.askP) / 2
                for best in (frame.feeds[one.key].fullFeed.marketFF.marketLevel.bidAskQuote[0] for one in (call, put))
            ]
            years = (TradingDay(call.expiry).at_ms(time(15, 30)) - frame.current_ms) / (365 * 86_400_000)
            spot = latest[market.contracts[call.underlying].key].fullFeed.indexFF.ltpc.ltp
            fair = spot - call.strike * math.exp(-RISK_FREE_RATE * years)
            # An index is shown up to a second and a half late; it moves by a ten-thousandth in that time.
            assert abs(mids[0] - mids[1] - fair) < 0.0006 * spot
            greeks = [frame.feeds[one.key].fullFeed.marketFF.optionGreeks for one in (call, put)]
            assert math.isclose(greeks[0].delta - greeks[1].delta, 1, abs_tol=2e-4)
            assert greeks[0].gamma == greeks[1].gamma > 0
            assert greeks[0].vega == greeks[1].vega > 0
            checked += 1
    assert checked > 100


@given(
    spot=st.floats(50, 60_000),
    moneyness=st.floats(0.8, 1.25),
    years=st.floats(0.001, 1),
    iv=st.floats(0.05, 0.8),
)
def test_pricing_call_less_put_is_forward_less_strike(spot: float, moneyness: float, years: float, iv: float) -> None:
    both = np.ones(2)
    terms = spot * both, spot * moneyness * both, years * both, iv * both
    call, put = option_price(np.array([1.0, -1.0]), *terms)
    assert call - put == pytest.approx(spot - spot * moneyness * math.exp(-RISK_FREE_RATE * years), abs=1e-6 * spot)
    assert min(call, put) > -1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_pricing_greeks_are_the_slopes_of_the_price(sign: float) -> None:
    def price(spot: float = 26_000.0, years: float = 0.05, iv: float = 0.12) -> float:
        return option_price(*(np.array([x]) for x in (sign, spot, 26_100.0, years, iv)))[0]

    greeks = option_greeks(*(np.array([x]) for x in (sign, 26_000.0, 26_100.0, 0.05, 0.12)))
    day = 1 / 365 / 1000
    assert greeks.delta[0] == pytest.approx((price(spot=26_000.5) - price(spot=25_999.5)), rel=1e-4)
    curvature = (price(spot=26_010) - 2 * price() + price(spot=25_990)) / 100
    assert greeks.gamma[0] == pytest.approx(curvature, rel=1e-2)
    assert greeks.theta[0] == pytest.approx((price(years=0.05 - day) - price()) * 1000, rel=1e-2)
    assert greeks.vega[0] == pytest.approx((price(iv=0.125) - price(iv=0.115)), rel=1e-3)


def test_market_cash_closes_before_derivatives() -> None:
    market, frames = played()
    shares = {contract.key for contract in market.contracts if contract.kind in ("EQ", "INDEX")}
    last_ms = {key: frame.current_ms for frame in frames for key in frame.feeds}
    assert max(last_ms[key] for key in shares) < SHORT.cash_close_ms + 2_000
    assert SHORT.close_ms - 5_000 < max(last_ms.values()) < SHORT.close_ms + 2_000
    status = market.segment_status(SHORT.cash_close_ms + 2_000)
    assert (status["NSE_EQ"], status["NSE_FO"]) == (pb.NORMAL_CLOSE, pb.NORMAL_OPEN)


@pytest.mark.parametrize("levels", [5, 30])
def test_market_depth_has_the_levels_asked_for(levels: int) -> None:
    [frame] = GeneratedMarket(SHORT, instruments=20, rate=20, depth_levels=levels).opening()
    feed = frame.feeds[FUTURE]
    assert len(feed.fullFeed.marketFF.marketLevel.bidAskQuote) == levels
    assert feed.requestMode == (pb.full_d5 if levels == 5 else pb.full_d30)


@pytest.mark.parametrize(("instruments", "rate"), [(50, 20.0), (50, 500.0), (400, 1000.0)])
def test_market_rate_is_the_one_asked_for(instruments: int, rate: float) -> None:
    session = TradingDay(DAY, cash_closes=time(9, 16), derivatives_close=time(9, 16))
    frames = GeneratedMarket(session, instruments=instruments, rate=rate).frames()
    next(frames)
    seconds = 60 if rate < 100 else 20  # so many updates in any case
    begun = takewhile(lambda frame: frame.current_ms < session.open_ms + 1_000 * seconds, frames)
    assert sum(len(frame.feeds) for frame in begun) / seconds == pytest.approx(rate, rel=0.15)


def test_market_impossible_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="give more --instruments"):
        GeneratedMarket(SHORT, instruments=3, rate=10_000)
    with pytest.raises(ConfigError, match=r"'NSE_EQ.nobody' is not in the market"):
        GeneratedMarket(SHORT, plant=[PlantedSpike("NSE_EQ|nobody", 1, 1.0, 2.0)])


@pytest.mark.parametrize("instruments", [1, 3, 4, 50, 700, 3000])
def test_universe_has_as_many_instruments_as_asked_for_each_once(instruments: int) -> None:
    contracts = make_universe(instruments, DAY)
    assert len({contract.key for contract in contracts}) == instruments
    assert len({contract.row["trading_symbol"] for contract in contracts}) == instruments


def test_universe_rows_are_as_the_vendors() -> None:
    rows = {contract.row["trading_symbol"]: contract.row for contract in make_universe(50, DAY)}
    option = rows["NIFTY 26000 CE 06 JAN 26"]
    assert option["weekly"] is True
    assert option["expiry"] == 1767724199000  # 23:59:59 in India
    assert (option["underlying_key"], option["strike_price"]) == ("NSE_INDEX|Nifty 50", 26000.0)
    assert rows["NIFTY FUT 27 JAN 26"]["strike_price"] == 0.0
    assert rows["INFY"]["instrument_key"] == "NSE_EQ|INE009A01021"


def test_calendar_knows_expiries_and_weekends() -> None:
    assert monthly_expiries(date(2026, 1, 28), 2) == [date(2026, 2, 24), date(2026, 3, 31)]
    assert latest_weekday(date(2026, 1, 4)) == date(2026, 1, 2)
    assert latest_weekday(date(2026, 1, 5), before=True) == date(2026, 1, 2)
    assert latest_weekday(date(2026, 1, 6)) == date(2026, 1, 6)
