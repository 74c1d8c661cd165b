"""Trades that planted spikes add to a block, and the updates that show them. Pure.

Owns random numbers of its own: all other trades and updates are the same with and without planted spikes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.market.time import MINUTE_MS
from ingest.simulator.exchange.bars import Ints
from ingest.simulator.exchange.instruments import Contract
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.trade_tape import BLOCK_MS, TRADES_PER_BURST, Bools, Tape, Trades, Updates

BLOCKS_PER_MINUTE = MINUTE_MS // BLOCK_MS
BURSTS_MAX = 30  # of one instrument in a block; larger volume comes in larger trades
Draw = Callable[[np.random.Generator, int], npt.NDArray[Any]]


class PlantedTrades:
    """The trades of planted spikes; arguments as in `GeneratedMarket`.

    Parameters
    ----------
    usual_lots
        Lots of a usual trade of each instrument, besides the first lot.
    """

    def __init__(
        self,
        contracts: Sequence[Contract],
        plant: Sequence[tuple[int, PlantedSpike]],
        tape: Tape,
        usual_lots: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        self.rng, self._tape, self._plant = rng, tape, plant
        self._lot = np.array([contract.lot for contract in contracts])
        self._usual_lots = usual_lots
        self._opened: dict[int, int] = {}  # lots that a running spike has opened so far
        self._oi_before: dict[int, int] = {}

    def add(
        self, trades: Trades, updates: Updates, is_open: Bools, *, block: int, liveliness: float, oi: Ints
    ) -> tuple[Trades, Updates]:
        """Return the trades and updates of a block with those of the spikes in it.

        Parameters
        ----------
        is_open
            The instruments that trade in it.
        block
            Number of the block since the open.
        liveliness
            Activity of the market in it.
        oi
            Open interest of each instrument before it.
        """
        minute, part = divmod(block, BLOCKS_PER_MINUTE)
        for position, spike in self._plant:
            if spike.minute != minute or not is_open[position] or self._lot[position] == 0:
                continue
            lots = self._lots(position, spike, liveliness)
            to_open = self._to_open(position, spike, part, oi)
            if to_open and not lots and not (trades.instrument == position).any():
                lots = 1  # something must carry it
            if lots:
                trades, updates = self._with_bursts(trades, updates, position, lots)
            if to_open:
                last = int(np.flatnonzero(trades.instrument == position)[-1])
                trades.opened[last] += to_open
            if spike.volume_multiple < 1:
                trades.scale[(trades.instrument == position) & ~trades.planted] = spike.volume_multiple
        return trades, updates

    def _lots(self, position: int, spike: PlantedSpike, liveliness: float) -> int:
        """Return how many lots a spike adds to a block; at least 1, however illiquid the instrument is."""
        more = spike.volume_multiple - 1
        if more <= 0:
            return 0
        usual = self._tape.trades_of(position, liveliness) * _mean_lots(float(self._usual_lots[position]))
        return max(1, round(more * usual))

    def _to_open(self, position: int, spike: PlantedSpike, part: int, oi: Ints) -> int:
        """Return the change of open interest in a block, so that it is complete at the end of the minute."""
        if not spike.oi_percent:
            return 0
        if part == 0:
            self._oi_before[position], self._opened[position] = int(oi[position]), 0
        lot = int(self._lot[position])
        whole = round(spike.oi_percent / 100 * self._oi_before.get(position, int(oi[position])) / lot)
        until = whole * (part + 1) // BLOCKS_PER_MINUTE
        step = until - self._opened.get(position, 0)
        self._opened[position] = until
        return step * lot

    def _with_bursts(self, trades: Trades, updates: Updates, position: int, lots: int) -> tuple[Trades, Updates]:
        """Return trades and updates with some bursts that trade a number of lots in all."""
        rng, steps, grid_ms = self.rng, self._tape.steps, self._tape.grid_ms
        bursts = int(min(BURSTS_MAX, steps, lots, 1 + rng.poisson(2.0)))
        step = np.sort(rng.choice(steps, bursts, replace=False))
        sizes = np.minimum(1 + rng.poisson(TRADES_PER_BURST, bursts), max(1, lots // bursts))
        at_step = np.repeat(step, sizes)
        at_ms = np.sort(at_step * grid_ms + rng.integers(0, grid_ms, len(at_step)))
        share = rng.exponential(1.0, len(at_ms))
        most = np.floor((lots - len(at_ms)) * share / share.sum()).astype(np.int64)
        quantity = 1 + most
        quantity[-1] += lots - quantity.sum()
        more = Trades.planted_ones(position, at_ms, quantity * self._lot[position], grid_ms)
        return trades.merged(more), updates.merged(step + 1, position, len(self._lot))


def drawn(rng: np.random.Generator, planted_rng: np.random.Generator, planted: Bools, draw: Draw) -> npt.NDArray[Any]:
    """Return random numbers, one for each row along the last axis: those of planted rows from a stream of their own.

    So the other rows get the numbers that they would get without planted ones.
    """
    usual = draw(rng, int((~planted).sum()))
    if not planted.any():
        return usual
    whole = np.empty((*usual.shape[:-1], len(planted)), usual.dtype)
    whole[..., ~planted] = usual
    whole[..., planted] = draw(planted_rng, int(planted.sum()))
    return whole


def _mean_lots(usual: float) -> float:
    """Return the mean of 1 + floor(x) of an exponential x with this mean."""
    return 1 + 1 / np.expm1(1 / usual) if usual > 0 else 1.0
