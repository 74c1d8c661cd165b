"""Price options and compute their greeks. Pure arithmetic on numpy arrays.

Black and Scholes (1973) without dividends. Greeks are in the vendor's units, as seen in its real frames
(data of 15 Dec 2025): theta per calendar day, vega per percentage point of volatility, rho per
percentage point of the interest rate.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RISK_FREE_RATE = 0.065  # per year, continuous; near India's 91-day bill of late 2025
DAYS_PER_YEAR = 365.0


class OptionGreeks(NamedTuple):
    """Greeks of some options, one array each."""

    delta: Floats
    theta: Floats
    gamma: Floats
    vega: Floats
    rho: Floats


def forward(spot: Floats, years: Floats) -> Floats:
    """Return the fair price of a future: spot plus the cost of carry to expiry."""
    return np.asarray(spot * np.exp(RISK_FREE_RATE * years))


def smile(level: Floats, spot: Floats, strike: Floats, years: Floats) -> Floats:
    """Return the implied volatility of a strike.

    Parameters
    ----------
    level
        Volatility at the money, a fraction per year.
    spot, strike
        Rupees.
    years
        Time to expiry.

    Notes
    -----
    A parabola in standardised moneyness: more expensive below the money, like index puts, and flat beyond
    three deviations. Calls and puts of a strike share it, so that put-call parity holds.
    """
    moneyness = np.log(strike / forward(spot, years)) / (level * np.sqrt(years))
    x = np.clip(moneyness, -3.0, 3.0)
    return np.asarray(level * (1.0 - 0.06 * x + 0.025 * x * x))


def option_price(sign: Floats, spot: Floats, strike: Floats, years: Floats, iv: Floats) -> Floats:
    """Return the price of options in rupees; `sign` is 1 for a call and -1 for a put."""
    d1, d2 = _deviations(spot, strike, years, iv)
    discounted = strike * np.exp(-RISK_FREE_RATE * years)
    return np.asarray(sign * (spot * _normal(sign * d1) - discounted * _normal(sign * d2)))


def option_greeks(sign: Floats, spot: Floats, strike: Floats, years: Floats, iv: Floats) -> OptionGreeks:
    """Return the greeks of options; `sign` is 1 for a call and -1 for a put."""
    d1, d2 = _deviations(spot, strike, years, iv)
    density = np.exp(-0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    root = np.sqrt(years)
    discounted = strike * np.exp(-RISK_FREE_RATE * years)
    in_money = _normal(sign * d2)
    decay = spot * density * iv / (2.0 * root) + sign * RISK_FREE_RATE * discounted * in_money
    return OptionGreeks(
        delta=sign * _normal(sign * d1),
        theta=-decay / DAYS_PER_YEAR,
        gamma=density / (spot * iv * root),
        vega=spot * density * root / 100.0,
        rho=sign * discounted * years * in_money / 100.0,
    )


def _deviations(spot: Floats, strike: Floats, years: Floats, iv: Floats) -> tuple[Floats, Floats]:
    width = iv * np.sqrt(years)
    d1 = (np.log(spot / strike) + RISK_FREE_RATE * years) / width + 0.5 * width
    return d1, d1 - width


def _normal(x: Floats) -> Floats:
    """Return the cumulative normal distribution; numpy has none, and scipy would be needed only for this."""
    scaled = (x / math.sqrt(2.0)).tolist()
    return 0.5 + 0.5 * np.fromiter(map(math.erf, scaled), np.float64, len(scaled))
