"""Implied volatility and greeks against scalar formulas of the standard library, on random and on extreme contracts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analytics.factors import black76

RATE = 0.065
COUNT = 100_000


def contracts(count: int, seed: int) -> tuple[np.ndarray, ...]:
    """Volatility, forward, strike, years and side: a minute to three years, 1 to 300 %, deep in and deep out."""
    rng = np.random.default_rng(seed)
    forward = rng.uniform(100, 60_000, count)
    strike = forward * np.exp(rng.normal(0, 0.3, count))
    years = np.exp(rng.uniform(math.log(1 / 525_600), math.log(3), count))
    volatility = np.exp(rng.uniform(math.log(0.01), math.log(3), count))
    return volatility, forward, strike, years, rng.random(count) < 0.5


def cumulative(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def priced(v: float, f: float, k: float, t: float, is_call: bool) -> float:
    """Black's formula as it stands in books, and the greeks by differences of it."""
    s = v * math.sqrt(t)
    d1 = math.log(f / k) / s + s / 2
    d2 = d1 - s
    if is_call:
        return math.exp(-RATE * t) * (f * cumulative(d1) - k * cumulative(d2))
    return math.exp(-RATE * t) * (k * cumulative(-d2) - f * cumulative(-d1))


def test_error_function_is_that_of_the_standard_library() -> None:
    y = np.concatenate([np.linspace(0, 26, 4001), [0.46875, 4.0]])
    expected = [math.erfc(one) * math.exp(one * one) for one in y]
    np.testing.assert_allclose(black76.erfcx(y), expected, rtol=3e-13)
    far = np.array([1e3, 1e8, 1e150])
    np.testing.assert_allclose(black76.erfcx(far), 1 / (far * math.sqrt(math.pi)), rtol=1e-6)


def test_price_is_that_of_the_textbook() -> None:
    v, f, k, t, call = contracts(3_000, 1)
    ours = black76.price(v, f, k, t, rate=RATE, is_call=call)
    theirs = [priced(*one) for one in zip(v, f, k, t, call)]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_volatility_of_100_000_contracts_is_found_where_a_price_tells_it_and_reprices_elsewhere() -> None:
    v, f, k, t, call = contracts(COUNT, 2)
    price = black76.price(v, f, k, t, rate=RATE, is_call=call)
    found = black76.implied_volatility(price, f, k, t, rate=RATE, is_call=call)
    vega = 100 * black76.greeks(v, f, k, t, rate=RATE, is_call=call).vega
    tells = vega * 1e-8 > 2e-15 * np.maximum(f, k)  # a rounding of the price moves the volatility by less than 1e-8
    assert tells.sum() > 0.25 * COUNT
    assert np.abs(found - v)[tells].max() < 1e-8
    known = np.isfinite(found)
    again = black76.price(found, f, k, t, rate=RATE, is_call=call)
    assert np.abs(again - price)[known].max() < 1e-10
    # Unknown is only what has no time value left in double precision.
    intrinsic = np.maximum(np.where(call, f - k, k - f), 0) * np.exp(-RATE * t)
    assert (price - intrinsic <= 3e-15 * price)[~known].all()


def test_prices_out_of_reach_and_odd_inputs_have_no_volatility() -> None:
    good = {"price": 10.0, "forward": 100.0, "strike": 105.0, "years": 0.1, "rate": 0.0, "is_call": True}
    assert black76.implied_volatility(**good) > 0
    for name, value in [
        ("price", 0.0), ("price", -1.0), ("price", 100.0), ("price", 150.0), ("price", math.nan), ("price", math.inf),
        ("forward", 0.0), ("forward", -5.0), ("forward", math.nan), ("strike", 0.0), ("strike", math.inf),
        ("years", 0.0), ("years", -1.0), ("years", math.nan),
    ]:  # fmt: skip
        assert np.isnan(black76.implied_volatility(**(good | {name: value}))), (name, value)
    deep = good | {"strike": 50.0, "price": 50.0}
    assert np.isnan(black76.implied_volatility(**deep))  # intrinsic value only
    assert np.isnan(black76.implied_volatility(**(deep | {"is_call": False})))  # the strike is a put's limit
    assert black76.implied_volatility(**(deep | {"price": 50.001})) > 0


def test_prices_at_the_money_and_far_from_it_keep_their_volatility() -> None:
    for strike in (100.0, 100.0 + 1e-12, 99.5, 20.0, 600.0):
        for v, t in ((0.05, 1 / 525_600), (0.2, 7 / 365), (3.0, 3.0), (0.8, 1.0)):
            for call in (True, False):
                side = strike > 100.0 if strike != 100.0 else call  # out of the money
                price = black76.price(v, 100.0, strike, t, rate=0.0, is_call=side)
                found = black76.implied_volatility(price, 100.0, strike, t, rate=0.0, is_call=side)
                if price > 1e-290:
                    assert found == pytest.approx(v, rel=1e-9), (strike, v, t)


def test_greeks_are_the_slopes_of_the_price() -> None:
    v, f, k, t = 0.17, 25_000.0, 25_300.0, 20 / 365
    for call in (True, False):
        got = black76.greeks(v, f, k, t, rate=RATE, is_call=call)
        step = 0.5
        growth = math.exp(RATE * t)  # of the spot to its forward
        up, here, down = (priced(v, f + n * step * growth, k, t, call) for n in (1, 0, -1))
        assert got.delta == pytest.approx((up - down) / (2 * step), rel=1e-6)
        assert got.gamma == pytest.approx((up - 2 * here + down) / step**2, rel=1e-4)
        assert got.vega == pytest.approx((priced(v + 1e-5, f, k, t, call) - here) / 1e-5 / 100, rel=1e-3)
        # A day later the spot is the same, so the forward is nearer to it.
        day = 1e-3 / 365
        later = priced(v, f * math.exp(-RATE * day), k, t - day, call)
        assert got.theta == pytest.approx((later - here) / 1e-3, rel=1e-3)
    assert np.isnan(black76.greeks(math.nan, f, k, t, rate=RATE, is_call=True).delta)
