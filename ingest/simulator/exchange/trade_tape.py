"""Generate trades, and the moments at which the feed reports them. Pure; prices come from elsewhere.

The exchange's side is a list of trades. The feed's side is a list of updates: it reports on a grid, a
little after a burst of trades and with the total up to then, so most trades are never seen; in between
it reports changes of the book, which carry no trade.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ingest.simulator.exchange.bars import Ints
from ingest.simulator.exchange.option_pricing import Floats

Bools = npt.NDArray[np.bool_]

BLOCK_MS = 6_000  # the market is generated in blocks of this length; a tenth of a minute
# Fraction of updates that carry trades: 0.37 of real options', 0.55 of real shares' (15 Dec 2025).
TRADE_SHARE = 0.44
TRADES_PER_BURST = 1.5  # besides the first one
BURST_STEPS = 0.2  # mean time, in steps of the grid, from the start of a burst to each of its trades
LIVELY = 4.0  # up to this activity bursts grow longer, above it they become more frequent
DELAY_STEPS_MAX = 6  # the feed lags by at most this many steps of its grid; most often by none
# Largest fraction of the grid filled by one instrument, and by all on average.
BUSY_MAX = 0.85
GRIDS_MS = (150, 100, 75, 60, 50, 40, 30, 25, 20, 15, 10)


class Trades(NamedTuple):
    """Trades of a block, sorted by instrument and time."""

    instrument: Ints
    at_ms: Ints  # since the start of the block
    step: Ints  # of the grid, at or before the trade
    planted: Bools  # by a planted spike
    quantity: Ints  # of planted trades; 0: drawn later
    opened: Ints  # open interest that a planted spike adds
    scale: Floats  # of the quantity, 1 without a planted spike

    @classmethod
    def usual(cls, instrument: Ints, at_ms: Ints, step: Ints) -> Trades:
        """Return trades that no spike has planted."""
        quantity, opened = np.zeros((2, len(instrument)), np.int64)
        return cls(instrument, at_ms, step, np.zeros(len(step), bool), quantity, opened, np.ones(len(step)))

    @classmethod
    def planted_ones(cls, position: int, at_ms: Ints, quantity: Ints, grid_ms: int) -> Trades:
        """Return trades of one instrument that a spike has planted."""
        made = cls.usual(np.full(len(at_ms), position), at_ms, at_ms // grid_ms)
        return made._replace(planted=np.ones(len(at_ms), bool), quantity=quantity)

    def merged(self, more: Trades) -> Trades:
        """Return these trades and others, sorted; these keep their order."""
        both = Trades._make(np.concatenate(pair) for pair in zip(self, more, strict=True))
        order = np.lexsort((both.at_ms, both.instrument))
        return Trades._make(part[order] for part in both)


class Updates(NamedTuple):
    """Updates of a block, sorted by step and instrument."""

    step: Ints  # 1: one grid length after the start of the block
    instrument: Ints
    planted: Bools  # there only because of a planted spike

    @classmethod
    def usual(cls, step: Ints, instrument: Ints) -> Updates:
        """Return updates that no spike has planted."""
        return cls(step, instrument, np.zeros(len(step), bool))

    def merged(self, step: Ints, position: int, instruments: int) -> Updates:
        """Return these updates and further ones of one instrument, at steps at which it has none yet."""
        new = np.setdiff1d(step, self.step[self.instrument == position])
        both = (
            np.concatenate((self.step, new)),
            np.concatenate((self.instrument, np.full(len(new), position))),
            np.concatenate((self.planted, np.ones(len(new), bool))),
        )
        order = np.argsort(both[0] * instruments + both[1], kind="stable")
        return Updates._make(part[order] for part in both)


def choose_grid_ms(instruments: int, rate: float) -> int:
    """Return the feed's grid: 150 ms as observed, or finer if the rate needs it.

    Raises
    ------
    ValueError
        If no grid is fine enough.
    """
    for grid_ms in GRIDS_MS:
        if rate * grid_ms / 1000 <= 0.6 * instruments:
            return grid_ms
    raise ValueError(f"{rate:g} updates a second are too many for {instruments} instruments")


class Tape:
    """Generate trades and updates, block by block.

    Parameters
    ----------
    liquidity
        Relative share of the updates per instrument; 0 for an index.
    rate
        Updates per second of all instruments together.
    grid_ms
        Grid of the feed, milliseconds.
    """

    def __init__(self, liquidity: Floats, *, rate: float, grid_ms: int, rng: np.random.Generator) -> None:
        self.grid_ms = grid_ms
        self.rng = rng
        self.steps = BLOCK_MS // grid_ms
        self._indices = np.flatnonzero(liquidity == 0)
        # Each index has a new value every second; the others share the rest of the rate.
        rest = max(rate - len(self._indices), 0.25 * rate)
        busy = _share_out(liquidity, rest * grid_ms / 1000)
        # Updates on the same step merge into one, so slightly more are drawn than come out.
        self._bursts = -np.log1p(-busy * TRADE_SHARE) * self.steps
        self._book_changes = -np.log1p(-busy) * self.steps - self._bursts
        self._pending = Updates.usual(np.empty(0, np.int64), np.empty(0, np.int64))

    def block(self, is_open: Bools, activity: Floats) -> tuple[Trades, Updates]:
        """Generate the next block.

        Parameters
        ----------
        is_open
            The instruments that trade in it.
        activity
            Activity of each instrument, 1 on average: more trades in a burst.
        """
        rng = self.rng
        mean = self._bursts * _more_bursts(activity)
        bursts = rng.poisson(mean * is_open)
        burst_of = np.repeat(np.arange(len(bursts)), bursts)
        size = 1 + rng.poisson(TRADES_PER_BURST * np.minimum(activity, LIVELY)[burst_of])
        start = np.cumsum(size) - size
        first_ms = np.repeat(rng.random(len(size)) * BLOCK_MS, size)
        at_ms = np.minimum(first_ms + rng.exponential(BURST_STEPS * self.grid_ms, len(first_ms)), BLOCK_MS - 1).astype(
            np.int64
        )
        # The feed reports a burst once, after its last trade.
        last_ms = np.maximum.reduceat(at_ms, start) if len(start) else at_ms
        delay = np.minimum(rng.geometric(0.6, len(size)) - 1, DELAY_STEPS_MAX)

        value_of, value_ms = self._index_values(is_open)
        value_delay = rng.integers(0, 4, len(value_of))
        updates = self._updates(
            np.concatenate((burst_of, value_of)),
            np.concatenate((last_ms, value_ms)) // self.grid_ms + 1 + np.concatenate((delay, value_delay)),
            is_open,
        )
        instrument = np.concatenate((np.repeat(burst_of, size), value_of))
        at_ms = np.concatenate((at_ms, value_ms))
        order = np.lexsort((at_ms, instrument))
        instrument, at_ms = instrument[order], at_ms[order]
        return Trades.usual(instrument, at_ms, at_ms // self.grid_ms), updates

    def trades_of(self, position: int, activity: float) -> float:
        """Return the mean number of an instrument's trades in a block of this activity."""
        bursts = self._bursts[position] * max(1.0, activity / LIVELY)
        return float(bursts * (1 + TRADES_PER_BURST * min(activity, LIVELY)))

    @staticmethod
    def quantity_scale(activity: Floats) -> Floats:
        """Return the scale of trade sizes that makes total volume proportional to activity."""
        more_trades = (1 + TRADES_PER_BURST * np.minimum(activity, LIVELY)) / (1 + TRADES_PER_BURST)
        return np.asarray(activity / (more_trades * _more_bursts(activity)))

    def _index_values(self, is_open: Bools) -> tuple[Ints, Ints]:
        """Return a value of each open index for each whole second."""
        seconds = np.arange(0, BLOCK_MS, 1000)
        live = self._indices[is_open[self._indices]]
        return np.repeat(live, len(seconds)), np.tile(seconds, len(live))

    def _updates(self, traded: Ints, reported: Ints, is_open: Bools) -> Updates:
        changes = self.rng.poisson(self._book_changes * is_open)
        changed = np.repeat(np.arange(len(changes)), changes)
        changed_step = self.rng.integers(1, self.steps + 1, len(changed))
        step = np.concatenate((self._pending.step, reported, changed_step))
        instrument = np.concatenate((self._pending.instrument, traded, changed))
        cells = np.unique(step * len(is_open) + instrument)
        step, instrument = np.divmod(cells, len(is_open))
        now = step <= self.steps
        self._pending = Updates.usual(step[~now] - self.steps, instrument[~now])
        return Updates.usual(step[now], instrument[now])


def _more_bursts(activity: Floats) -> Floats:
    return np.maximum(1.0, activity / LIVELY)


def _share_out(liquidity: Floats, total: float) -> Floats:
    """Distribute `total` by liquidity, with at most BUSY_MAX for each instrument."""
    share = np.zeros_like(liquidity)
    for _ in range(50):  # each round fills at least one instrument up, or ends
        open_to_more = (liquidity > 0) & (share < BUSY_MAX)
        rest = total - share.sum()
        if rest < 1e-9 or not open_to_more.any():
            break
        share[open_to_more] += rest * liquidity[open_to_more] / liquidity[open_to_more].sum()
        share = np.minimum(share, BUSY_MAX)
    return share
