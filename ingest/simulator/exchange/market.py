"""The generated market: an NSE session as a source. Pure: a seed and a date in, frames and the truth out.

The exchange's trades are made first; bars, cumulative volume, open interest and average price are computed
from every one of them. Then the feed takes snapshots, so it misses most trades, as the real feed does.
`truth` has what the feed could not show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ingest.errors import ConfigError
from ingest.simulator.exchange.bars import PAISE
from ingest.simulator.exchange.instruments import make_universe
from ingest.simulator.exchange.planted_truth import check_plant
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.session_run import SessionRun
from ingest.simulator.exchange.trade_tape import choose_grid_ms
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.source import Instrument, MarketFrame, MinuteBar

PLANTED_STREAM = 1  # of random numbers, beside that of the market


class GeneratedMarket:
    """A generated NSE session; the same arguments give the same bytes everywhere.

    Parameters
    ----------
    session
        Date and hours.
    seed
        Seed of the random numbers.
    instruments
        How many: indices, shares, futures and option chains.
    rate
        Updates (ticks) per market second of all instruments together, on average over the session's
        continuous trading.
    grid_ms
        The feed's grid; None: 150 ms as observed, or finer where the rate needs it.
    depth_levels
        5, or 30 for a feed that has full_d30.
    plant
        Spikes to plant. All other ticks are the same with and without them.

    Raises
    ------
    ConfigError
        If so few instruments cannot reach the rate, or a planted key is not in the market or has no such figure.
    """

    def __init__(
        self,
        session: TradingDay,
        *,
        seed: int = 1,
        instruments: int = 50,
        rate: float = 500.0,
        grid_ms: int | None = None,
        depth_levels: int = 5,
        plant: Sequence[PlantedSpike] = (),
    ) -> None:
        try:
            self.grid_ms = grid_ms or choose_grid_ms(instruments, rate)
        except ValueError as exc:
            raise ConfigError(f"{exc}: give more --instruments or a lower --rate") from exc
        self.session = session
        self.seed = seed
        self.rate = rate
        self.depth_levels = depth_levels
        self.plant = tuple(plant)
        self.contracts = make_universe(instruments, session.day)
        self.keys = frozenset(contract.key for contract in self.contracts)
        self._positions = {contract.key: position for position, contract in enumerate(self.contracts)}
        check_plant(self.plant, self.contracts)
        self._play = self._new_play()

    @property
    def title(self) -> str:
        """Name of the market for the user."""
        return (
            f"made-up session of {self.session.day}: {len(self.contracts)} instruments, "
            f"{self.rate:g} ticks/s, seed {self.seed}"
        )

    def instruments(self) -> Sequence[Instrument]:
        """Return the rows of the instrument master."""
        return [contract.row for contract in self.contracts]

    def opening(self) -> Sequence[MarketFrame]:
        """Return the single frame before the open: the last session's close of every instrument."""
        return [self._new_play().opening()]

    def frames(self) -> Iterator[MarketFrame]:
        """Yield all frames of the session; `truth` refers to the last call."""
        self._play = play = self._new_play()
        yield play.opening()
        yield from play.frames()

    def segment_status(self, current_ms: int) -> dict[str, int]:
        """Return the `MarketStatus` of each segment at a market time."""
        return self.session.status(current_ms)

    def truth(self) -> list[MinuteBar]:
        """Return the exact bars of all minutes whose frames have been taken from `frames`.

        Returns
        -------
        list of MinuteBar
            Sorted by minute, then by instrument in the order of the master. Made from every trade (of an
            index: every value), including those that no frame shows; a minute without a trade has no bar.
        """
        keys = [contract.key for contract in self.contracts]
        bars: list[MinuteBar] = []
        for minute_ms, who, columns in self._play.minutes:
            prices = (columns[:4] / PAISE).tolist()
            rows = zip(who.tolist(), *prices, columns[4].tolist(), strict=True)
            bars.extend(MinuteBar(keys[position], minute_ms, *rest) for position, *rest in rows)
        return bars

    def minute_bars(self, key: str) -> Sequence[MinuteBar]:
        """Return the exact bars of a key, in order, for all minutes completed in what `frames` has yielded."""
        bars: list[MinuteBar] = []
        if (position := self._positions.get(key)) is None:
            return bars
        for minute_ms, who, columns in self._play.minutes:
            at = int(np.searchsorted(who, position))
            if at < len(who) and who[at] == position:
                open_, high, low, close = (columns[:4, at] / PAISE).tolist()
                bars.append(MinuteBar(key, minute_ms, open_, high, low, close, int(columns[4, at])))
        return bars

    def _new_play(self) -> SessionRun:
        return SessionRun(
            self.contracts,
            self.session,
            rate=self.rate,
            grid_ms=self.grid_ms,
            depth_levels=self.depth_levels,
            plant=self.plant,
            rng=np.random.Generator(np.random.PCG64(self.seed)),
            planted_rng=np.random.Generator(np.random.PCG64((self.seed, PLANTED_STREAM))),
        )
