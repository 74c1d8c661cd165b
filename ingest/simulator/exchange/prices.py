"""Fair price of every instrument at each step of a block. Pure.

Underlyings follow a random walk: one factor moves the whole market, and each has a part of its own.
Futures are spot plus carry; options are Black-Scholes on a smile whose level is set by India VIX.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from typing import NamedTuple

import numpy as np

from ingest.market.time import MINUTE_MS
from ingest.simulator.exchange.bars import PAISE, Ints
from ingest.simulator.exchange.instruments import TICK_PAISE, UNDERLYINGS, VIX, Contract
from ingest.simulator.exchange.option_pricing import Floats, OptionGreeks, forward, option_greeks, option_price, smile
from ingest.simulator.exchange.trading_day import TradingDay

MARKET_VOLATILITY = 0.11  # of the common factor, a fraction per year
TRADING_MS_PER_YEAR = 252 * 375 * MINUTE_MS
YEAR_MS = 365 * 24 * 60 * MINUTE_MS
# Options are never priced with less time than this: on its last day an option trades to the last minute.
MINUTES_LEFT_MIN = 15
IV_MIN = 0.01  # a planted fall of implied volatility ends here
# Half of the spread as a fraction of the price: shares and futures, options.
HALF_SPREAD, OPTION_HALF_SPREAD = 0.00008, 0.0012


class PlantedSpike(NamedTuple):
    """A planted jump of one instrument in one minute, for detection to find.

    Attributes
    ----------
    instrument_key
        The instrument.
    minute
        Minutes after the open.
    move_percent
        Price move within the minute; the price stays there.
    volume_multiple
        Multiple of the usual volume of that minute; 1 adds nothing.
    iv_points
        Change of an option's implied volatility within the minute, in percentage points; it stays, and the price
        follows.
    oi_percent
        Change of the open interest within the minute, in percent.
    """

    instrument_key: str
    minute: int
    move_percent: float
    volume_multiple: float
    iv_points: float = 0.0
    oi_percent: float = 0.0


class Fair(NamedTuple):
    """Fair values of some instruments at some steps."""

    price: Floats  # rupees
    spot: Floats  # of the underlying, rupees
    iv: Floats  # 0 where there is none


class Prices:
    """Move the underlyings and price everything derived from them.

    Parameters
    ----------
    contracts
        The instruments; in all methods an instrument is its position in this list.
    grid_ms, steps
        Length and number of steps of a block.
    plant
        Jumps to plant.
    """

    def __init__(
        self,
        contracts: Sequence[Contract],
        session: TradingDay,
        *,
        grid_ms: int,
        steps: int,
        plant: Sequence[PlantedSpike],
        rng: np.random.Generator,
    ) -> None:
        self.session, self.grid_ms, self.steps, self.rng = session, grid_ms, steps, rng
        self.sign = np.array([contract.sign for contract in contracts])
        self.is_future = np.array([contract.kind == "FUT" for contract in contracts])
        self.is_index = np.array([contract.kind == "INDEX" for contract in contracts])
        self.underlying = np.array([contract.underlying for contract in contracts])
        self.strike = np.array([contract.strike for contract in contracts])
        self.tick = np.where(self.is_index, 1, TICK_PAISE)
        self._expiry_ms = np.array([_expiry_ms(contract.expiry) for contract in contracts])
        positions = {contract.key: position for position, contract in enumerate(contracts)}
        self.plant = [(positions[spike.instrument_key], spike) for spike in plant]
        self._beta = np.array([one.beta for one in UNDERLYINGS])[:, None]
        self._own = np.array([one.volatility for one in UNDERLYINGS])[:, None]
        self._level = np.hypot(self._beta, self._own / MARKET_VOLATILITY)[:, 0]
        base = np.array([one.price for one in UNDERLYINGS])
        overnight = 1 + 0.003 * self._beta[:, 0] * rng.standard_normal()
        self._spot = np.repeat((base * overnight)[:, None], steps + 1, axis=1)
        self._years = np.ones(len(contracts))
        self.move_to(session.open_ms)

    def move_to(self, start_ms: int) -> None:
        """Set the clock to the start of a block without changing a price."""
        self.start_ms = start_ms
        left_ms = np.maximum(self._expiry_ms - start_ms, MINUTES_LEFT_MIN * MINUTE_MS)
        self._years = left_ms / YEAR_MS

    def walk(self, start_ms: int) -> None:
        """Move the prices through the block that begins at `start_ms`."""
        self.move_to(start_ms)
        # Prices move more in the first half hour.
        minutes = (start_ms - self.session.open_ms) / MINUTE_MS
        pace = (1 + 0.8 * np.exp(-minutes / 20)) * np.sqrt(self.grid_ms / TRADING_MS_PER_YEAR)
        market = MARKET_VOLATILITY * self.rng.standard_normal(self.steps)
        own = self._own * self.rng.standard_normal((len(UNDERLYINGS), self.steps))
        path = np.cumsum(pace * (self._beta * market + own), axis=1)
        self._spot[:, 0] = self._spot[:, -1]
        self._spot[:, 1:] = self._spot[:, :1] * np.exp(path)

    def fair(self, instrument: Ints, step: Ints) -> Fair:
        """Return fair values at steps 0 to `steps` of the block."""
        underlying = self.underlying[instrument]
        spot = self._spot[underlying, step]
        price, iv = spot.copy(), np.zeros(len(spot))
        years, sign = self._years[instrument], self.sign[instrument]
        future = self.is_future[instrument]
        price[future] = forward(spot[future], years[future])
        option = sign != 0
        level = np.clip(self._spot[VIX, step[option]] / 100, 0.06, 0.6) * self._level[underlying[option]]
        terms = spot[option], self.strike[instrument[option]], years[option]
        at_ms = self.start_ms - self.session.open_ms + step * self.grid_ms
        shift, ratio = np.zeros(len(spot)), np.ones(len(spot))
        for position, spike in self.plant:
            done = np.where(instrument == position, np.clip(at_ms / MINUTE_MS - spike.minute, 0.0, 1.0), 0.0)
            shift += spike.iv_points / 100 * done
            ratio *= 1 + spike.move_percent / 100 * done
        # The vendor's iv has single precision; prices and greeks are computed from the value sent.
        iv[option] = np.maximum(smile(level, *terms) + shift[option], IV_MIN).astype(np.float32)
        price[option] = option_price(sign[option], *terms, iv[option])
        price *= ratio
        return Fair(price, spot, iv)

    def greeks(self, instrument: Ints, fair: Fair) -> OptionGreeks:
        """Return the greeks of options from their fair values."""
        terms = fair.spot, self.strike[instrument], self._years[instrument]
        return option_greeks(self.sign[instrument], *terms, fair.iv)

    def quote(self, instrument: Ints, price: Floats) -> tuple[Ints, Ints]:
        """Return best bid and ask around a fair price, in paise; a bid of 0 means none."""
        tick = self.tick[instrument]
        half = price * np.where(self.sign[instrument] != 0, OPTION_HALF_SPREAD, HALF_SPREAD)
        bid = np.floor((price - half) * PAISE / tick).astype(np.int64) * tick
        ask = np.ceil((price + half) * PAISE / tick).astype(np.int64) * tick
        return np.maximum(bid, 0), np.maximum(ask, np.maximum(bid, 0) + tick)


def _expiry_ms(expiry: date | None) -> int:
    """Return when a contract expires: 15:30 in India, whatever the time in its row; 0 for none."""
    return TradingDay(expiry).at_ms(time(15, 30)) if expiry else 0
