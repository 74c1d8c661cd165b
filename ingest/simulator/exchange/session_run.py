"""One run through the generated session, block by block. Pure; holds the state of the exchange."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.market.time import DAY_MS, MINUTE_MS
from ingest.simulator.exchange.bars import (  # fmt: skip
    HIGH,
    LOW,
    LTP,
    LTQ,
    LTT,
    OI,
    OPEN,
    TURNOVER,
    VTT,
    Bars,
    Ints,
    Segments,
    running_max,
    running_total,
)
from ingest.simulator.exchange.instruments import Contract
from ingest.simulator.exchange.option_pricing import Floats
from ingest.simulator.exchange.planted_trades import Draw, PlantedTrades, drawn
from ingest.simulator.exchange.prices import PlantedSpike, Prices
from ingest.simulator.exchange.snapshots import Snapshots
from ingest.simulator.exchange.trade_tape import BLOCK_MS, Tape, Trades, Updates
from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
from ingest.simulator.source import MarketFrame

PRICE_MAX = 1 << 39  # paise, above any price
# Lots of a usual trade: shares trade in dozens, contracts in ones and twos.
USUAL_LOTS = {"INDEX": 0.0, "EQ": 40.0, "FUT": 3.0, "CE": 2.0, "PE": 2.0}
AGGRESSIVE_SHARE = 0.1  # fraction of trades that go one tick through the best level


class SessionRun:
    """The exchange and its feed during one run; arguments as in `GeneratedMarket`.

    Attributes
    ----------
    minutes
        Finished minutes: start (epoch ms), the instruments that traded, and their bars in the rows
        open, high, low, close (paise) and volume.
    """

    def __init__(
        self,
        contracts: Sequence[Contract],
        session: TradingDay,
        *,
        rate: float,
        grid_ms: int,
        depth_levels: int,
        plant: Sequence[PlantedSpike],
        rng: np.random.Generator,
        planted_rng: np.random.Generator,
    ) -> None:
        self.session, self.grid_ms, self.rng, self.planted_rng = session, grid_ms, rng, planted_rng
        liquidity = np.array([contract.liquidity for contract in contracts])
        self.tape = Tape(liquidity, rate=rate, grid_ms=grid_ms, rng=rng)
        steps = self.tape.steps
        self.prices = Prices(contracts, session, grid_ms=grid_ms, steps=steps, plant=plant, rng=rng)
        self.minutes: list[tuple[int, Ints, Ints]] = []
        self._lot = np.array([contract.lot for contract in contracts])
        self._usual_lots = np.array([USUAL_LOTS[contract.kind] for contract in contracts])
        self._planted = PlantedTrades(contracts, self.prices.plant, self.tape, self._usual_lots, planted_rng)
        self._is_derivative = np.array([contract.expiry is not None for contract in contracts])
        self._minute, self._finished = Bars(len(contracts)), Bars(len(contracts))
        # The feed shows yesterday's values until the first trade; totals start from 0.
        self._shown = self._yesterday()
        self._now = np.zeros_like(self._shown)
        self._now[OI] = self._shown[OI]
        self._now[LOW] = PRICE_MAX
        self.snapshots = Snapshots(
            contracts, self.prices, depth_levels=depth_levels, yesterday=self._shown, rng=rng, planted_rng=planted_rng
        )

    def opening(self) -> MarketFrame:
        """Return the frame before the open: every instrument at the last session's close."""
        self.prices.move_to(self.session.open_ms - self.grid_ms)
        everyone = np.arange(len(self._lot))
        [frame] = self.snapshots.frames(Updates.usual(np.zeros_like(everyone), everyone), self._shown)
        return frame

    def frames(self) -> Iterator[MarketFrame]:
        """Yield the frames of the session, and the delayed ones in a block after it."""
        for start_ms in range(self.session.open_ms, self.session.close_ms + BLOCK_MS, BLOCK_MS):
            updates, known = self._block(start_ms)
            yield from self.snapshots.frames(updates, known)
            if (start_ms + BLOCK_MS) % MINUTE_MS == 0:
                self._finish_minute(start_ms + BLOCK_MS - MINUTE_MS)

    def _block(self, start_ms: int) -> tuple[Updates, Ints]:
        """Trade through a block; return its updates and the state that each of them shows."""
        self.prices.walk(start_ms)
        liveliness = _liveliness(start_ms, self.session)
        activity = np.full(len(self._lot), liveliness)
        derivatives_open = start_ms < self.session.at_ms(self.session.derivatives_close)
        is_open = np.where(self._is_derivative, derivatives_open, start_ms < self.session.cash_close_ms)
        trades, updates = self.tape.block(is_open, activity)
        block = (start_ms - self.session.open_ms) // BLOCK_MS
        trades, updates = self._planted.add(
            trades, updates, is_open, block=block, liveliness=liveliness, oi=self._now[OI]
        )
        after = self._trade(trades, self.tape.quantity_scale(activity))
        # An update shows the instrument's last trade before it, or otherwise the state before the block:
        # both are columns of one table.
        table = np.concatenate((after, self._shown), axis=1)
        order = trades.instrument * BLOCK_MS + trades.at_ms
        seen = np.searchsorted(order, updates.instrument * BLOCK_MS + updates.step * self.grid_ms) - 1
        owner = np.concatenate((trades.instrument, [-1]))[seen]
        column = np.where(owner == updates.instrument, seen, len(order) + updates.instrument)
        segments = Segments.of(trades.instrument)
        last = after[:, segments.ends - 1]
        self._shown[:, segments.instruments] = last
        self._now[:, segments.instruments] = last
        return updates, table[:, column]

    def _trade(self, trades: Trades, scale: Floats) -> Ints:
        """Generate the trades' prices and quantities; return the exchange's state after each trade."""
        who, now = trades.instrument, self._now
        bid, ask = self.prices.quote(who, self.prices.fair(who, trades.step).price)
        tick, is_index = self.prices.tick[who], self.prices.is_index[who]
        through = np.where((self._drawn(trades, _shares) < AGGRESSIVE_SHARE) & ~is_index, tick, 0)
        price = np.where(self._drawn(trades, _shares) < 0.5, ask + through, np.maximum(bid - through, tick))
        size = self._drawn(trades, _sizes) * self._usual_lots[who] * scale[who]
        lots = np.maximum((1 + size.astype(np.int64)) * trades.scale, 1).astype(np.int64)
        quantity = np.where(trades.planted, trades.quantity, lots * self._lot[who])  # the lot of an index is 0
        opened = np.where(self._is_derivative[who], self._drawn(trades, _signs) * quantity, 0)
        opened = np.where(trades.planted, 0, opened) + trades.opened
        segments = Segments.of(who)
        first = np.repeat(price[segments.starts], segments.ends - segments.starts)
        self._minute.add(segments, price, quantity)
        after = np.empty((len(now), len(who)), np.int64)
        after[LTP] = price
        after[LTT] = self.prices.start_ms + trades.at_ms
        after[LTQ] = quantity
        after[VTT] = running_total(who, quantity, now[VTT])
        after[TURNOVER] = running_total(who, quantity * price, now[TURNOVER])
        after[OI] = np.maximum(running_total(who, opened, now[OI]), 0)
        after[OPEN] = np.where(now[OPEN][who] > 0, now[OPEN][who], first)
        after[HIGH] = running_max(who, price, now[HIGH])
        after[LOW] = -running_max(who, -price, -now[LOW])
        return after

    def _drawn(self, trades: Trades, draw: Draw) -> npt.NDArray[Any]:
        """Return a random number for each trade."""
        return drawn(self.rng, self.planted_rng, trades.planted, draw)

    def _finish_minute(self, minute_ms: int) -> None:
        """Close the minute: add it to the truth, and let the feed show it as `I1` from now on."""
        minute = self._minute
        who = np.flatnonzero(minute.trades)
        bars = np.stack((minute.open, minute.high, minute.low, minute.close, minute.volume))[:, who]
        self.minutes.append((minute_ms, who, bars))
        self._finished.overwrite(minute, minute_ms)
        self.snapshots.show_minute(self._finished)

    def _yesterday(self) -> Ints:
        """Invent the state left by the last session."""
        rng = self.rng
        everyone = np.arange(len(self._lot))
        bid, _ = self.prices.quote(everyone, self.prices.fair(everyone, np.zeros_like(everyone)).price)
        close = np.maximum(bid, self.prices.tick)
        last_day = latest_weekday(self.session.day, before=True)
        closed_ms = self.session.open_ms - DAY_MS * (self.session.day - last_day).days
        closed_ms += self.session.cash_close_ms - self.session.open_ms
        left = np.zeros((9, len(everyone)), np.int64)
        left[[LTP, OPEN, HIGH, LOW]] = close
        left[LTT] = closed_ms - 1000 * rng.integers(1, 60, len(everyone))
        left[LTQ] = self._lot
        left[VTT] = rng.integers(1_000, 50_000, len(everyone)) * self._lot
        left[TURNOVER] = left[VTT] * close
        left[OI] = np.where(self._is_derivative, rng.integers(5_000, 50_000, len(everyone)) * self._lot, 0)
        return left


def _shares(rng: np.random.Generator, count: int) -> Floats:
    return rng.random(count)


def _sizes(rng: np.random.Generator, count: int) -> Floats:
    return rng.exponential(1.0, count)


def _signs(rng: np.random.Generator, count: int) -> Ints:
    return rng.integers(-1, 2, count)


def _liveliness(at_ms: int, session: TradingDay) -> float:
    """Return the level of trading, 1 on average: highest after the open, high again before the close."""
    opened = (at_ms - session.open_ms) / MINUTE_MS
    left = (session.close_ms - at_ms) / MINUTE_MS
    return float(0.85 + 1.4 * np.exp(-opened / 20) + 0.8 * np.exp(-left / 30))
