"""Black-76: implied volatility and greeks of European options on a forward, for whole arrays. Pure.

Owns the arithmetic. Must not know what an instrument or a chain is: `analytics.factors.option_model` does.

A price is seen as that of the option out of the money (put-call parity), divided by sqrt(forward * strike): then it
depends on x = -|log(forward / strike)| and s = volatility * sqrt(years) alone. It is computed from the scaled
complementary error function, so that a price of 1e-300 is as exact as one of 0.1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
STEPS_MAX = 60  # halvings of a bracket when steps do not help; one or two steps are usual
STEP_SMALL = 1e-4  # after a step this small, as a part of s, the error is its fourth power: rounding only
BLOCK = 8_192  # options at a time, whose arrays stay in the processor's cache
S_MAX = 30.0  # volatility * sqrt(years) beyond which a price does not tell volatilities apart
NEAR, FAR = 0.46875, 4.0  # where one approximation to erfc ends and the next begins
_ROOT_2 = np.sqrt(2.0)
_ROOT_2_PI = np.sqrt(2 * np.pi)
# Rational Chebyshev approximations to erf and erfc, of relative error below 1e-16. Source: W. J. Cody, Mathematics of
# Computation 23, 1969. Highest power first.
_ERF = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_ERFC = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)
_ERFC_FAR = (
    (
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ),
    (
        1.0,
        2.56852019228982242e0,
        1.87295284992346725e0,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ),
)


class Greeks(NamedTuple):
    """Greeks of options, as the vendor gives them: delta and gamma by the spot, theta a day, vega a point."""

    delta: Floats  # change of the price for a rupee of the spot
    gamma: Floats  # change of delta for a rupee of the spot
    theta: Floats  # rupees a calendar day
    vega: Floats  # rupees for a percentage point of volatility


def implied_volatility(
    price: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, *, rate: float, is_call: ArrayLike
) -> Floats:
    """Return the yearly volatility at which Black-76 gives a price; as a fraction, shape as the inputs together.

    Parameters
    ----------
    price, forward, strike
        In rupees; the price as paid today.
    years
        Time to expiry.
    rate
        Continuously compounded yearly interest rate, by which the price is discounted.
    is_call
        True: call; False: put.

    Returns
    -------
    numpy.ndarray
        float64; NaN where no volatility gives the price (not above intrinsic value, or not below the forward of a
        call or the strike of a put), where time is over, and where an input is not finite or not positive.
    """
    inputs = (np.asarray(one, np.float64) for one in (price, forward, strike, years))
    p, f, k, t, call = np.broadcast_arrays(*inputs, np.asarray(is_call, bool))
    shape = p.shape
    p, f, k, t, call = (one.ravel() for one in (p, f, k, t, call))
    with np.errstate(all="ignore"):
        worth = p * np.exp(rate * t)
        intrinsic = np.maximum(np.where(call, f - k, k - f), 0)
        root = np.sqrt(f * k)
        beta = (worth - intrinsic) / root  # of the option out of the money
        x = -np.abs(np.log(f / k))
        # What is left of a price after its intrinsic value must be more than the rounding of their difference.
        possible = (
            (beta > 0)
            & (worth - intrinsic > 4e-16 * worth)
            & (beta * (1 + 1e-15) < np.exp(x / 2))
            & (t > 0)
            & (f > 0)
            & (k > 0)
        )
        found = np.full(p.shape, np.nan)
        places = np.flatnonzero(possible & np.isfinite(beta) & np.isfinite(x))
        for first in range(0, places.size, BLOCK):
            block = places[first : first + BLOCK]
            found[block] = _total_volatility(beta[block], x[block]) / np.sqrt(t[block])
    return found.reshape(shape)


def greeks(
    volatility: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, *, rate: float, is_call: ArrayLike
) -> Greeks:
    """Return the greeks of options of a volatility, parameters as `implied_volatility`; NaN where that is NaN.

    The spot is the discounted forward, as of an underlying without a dividend before expiry.
    """
    inputs = (np.asarray(one, np.float64) for one in (volatility, forward, strike, years))
    v, f, k, t, call = np.broadcast_arrays(*inputs, np.asarray(is_call, bool))
    with np.errstate(all="ignore"):
        s = v * np.sqrt(t)
        d1 = np.log(f / k) / s + s / 2
        d2 = d1 - s
        density = np.exp(-d1 * d1 / 2) / _ROOT_2_PI
        discount = np.exp(-rate * t)
        sign = np.where(call, 1.0, -1.0)
        spot = f * discount
        theta = -spot * density * v / (2 * np.sqrt(t)) - sign * rate * k * discount * normal(sign * d2)
        return Greeks(
            delta=sign * normal(sign * d1),
            gamma=density / (spot * s),
            theta=theta / 365,
            vega=spot * density * np.sqrt(t) / 100,
        )


def price(
    volatility: ArrayLike, forward: ArrayLike, strike: ArrayLike, years: ArrayLike, *, rate: float, is_call: ArrayLike
) -> Floats:
    """Return the prices of options in rupees, parameters as `implied_volatility`."""
    inputs = (np.asarray(one, np.float64) for one in (volatility, forward, strike, years))
    v, f, k, t, call = np.broadcast_arrays(*inputs, np.asarray(is_call, bool))
    with np.errstate(all="ignore"):
        beta = _normalised(-np.abs(np.log(f / k)), v * np.sqrt(t))
        intrinsic = np.maximum(np.where(call, f - k, k - f), 0)
        return np.asarray((beta * np.sqrt(f * k) + intrinsic) * np.exp(-rate * t))


def normal(x: Floats) -> Floats:
    """Return the cumulative normal distribution; of large negative values as exactly as of others."""
    half = 0.5 * np.exp(-x * x / 2) * erfcx(np.abs(x) / _ROOT_2)
    return np.where(x < 0, half, 1 - half)


def erfcx(y: Floats) -> Floats:
    """Return exp(y * y) * erfc(y) for y >= 0."""
    found = _ratio(_ERFC, np.clip(y, NEAR, FAR))
    is_near, is_far = y < NEAR, y > FAR
    if is_near.any():
        x = y[is_near]
        found[is_near] = np.exp(x * x) * (1 - x * _ratio(_ERF, x * x))
    if is_far.any():
        x = y[is_far]
        inverse = 1 / (x * x)
        found[is_far] = (1 / np.sqrt(np.pi) - inverse * _ratio(_ERFC_FAR, inverse)) / x
    return found


def _ratio(powers: tuple[tuple[float, ...], tuple[float, ...]], x: Floats) -> Floats:
    above, below = np.full_like(x, powers[0][0]), np.full_like(x, powers[1][0])
    for a, b in zip(powers[0][1:], powers[1][1:], strict=True):
        above *= x
        above += a
        below *= x
        below += b
    above /= below
    return above


def _normalised(x: Floats, s: Floats) -> Floats:
    """Return the price of an option out of the money over sqrt(forward * strike); x <= 0, s > 0."""
    h, t = x / s, s / 2
    up = (h + t) / _ROOT_2
    price = erfcx(np.abs(up))
    if (is_above := up > 0).any():  # there it is 2 - erfc, which the scale would overflow
        y = up[is_above]
        price[is_above] = 2 * np.exp(np.minimum(y * y, 700)) - price[is_above]
    price -= erfcx((t - h) / _ROOT_2)
    price *= 0.5 * np.exp(-0.5 * (h * h + t * t))
    return price


# Prices of options on a forward that is normally distributed, which are nearly those of Black-76: the logarithm of the
# distance of the strike in deviations, from far to near, and that of the price over the distance in rupees.
_DISTANCES = np.linspace(np.log(38.0), np.log(1e-3), 4_001)
_OVER_DISTANCE = np.log(
    np.exp(-np.exp(2 * _DISTANCES) / 2)
    * (1 / (np.exp(_DISTANCES) * _ROOT_2_PI) - erfcx(np.exp(_DISTANCES) / _ROOT_2) / 2)
)


def _first_guess(beta: Floats, x: Floats) -> Floats:
    """Return s at which a normally distributed forward gives a price out of the money, with its first correction.

    Exact to 1e-6 of s at usual strikes and times.
    """
    moneyness = 2 * np.sinh(-x / 2)
    over = np.log(beta / np.maximum(moneyness, 1e-300))
    far = -x * np.exp(-np.interp(over, _OVER_DISTANCE, _DISTANCES))
    s = np.where(over < _OVER_DISTANCE[-1], far, (beta + moneyness / 2) * _ROOT_2_PI)
    return np.asarray(np.clip(s * (1 + s * s / 24), 1e-300, S_MAX / 2))


def _total_volatility(beta: Floats, x: Floats) -> Floats:
    """Return s at which the price out of the money is beta; 0 < beta < exp(x / 2).

    Householder's steps of the third order on the logarithm of the price, kept inside a bracket.
    """
    s, target = _first_guess(beta, x), np.log(beta)
    low, high = np.zeros_like(s), np.full_like(s, S_MAX)
    found, places = np.empty_like(s), np.arange(s.size)
    for _ in range(STEPS_MAX):
        value = _normalised(x, s)
        gap = target - np.log(value)
        h2 = (x / s) ** 2
        # Derivatives of log(price): the first; and of the price, the second and third over the first.
        slope = np.exp(-0.5 * (h2 + s * s / 4)) / (_ROOT_2_PI * value)
        bend = h2 / s - s / 4
        third = bend * bend - 3 * h2 / (s * s) - 0.25
        newton = gap / slope
        second, third = bend - slope, third - slope * (3 * bend - 2 * slope)
        fresh = s + newton * (1 + second * newton / 2) / (1 + newton * (second + third * newton / 6))
        low, high = np.where(gap > 0, s, low), np.where(gap < 0, s, high)
        inside = (fresh >= low) & (fresh <= high)
        fresh = np.where(inside, fresh, (low + high) / 2)
        found[places] = fresh
        going = ~(inside & (np.abs(fresh - s) <= STEP_SMALL * s)) & (high - low > 4e-16 * s)
        if not going.any():
            break
        places, x, s, low, high, target = (one[going] for one in (places, x, fresh, low, high, target))
    return found
