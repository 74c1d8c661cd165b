"""Build frames that show the exchange's state as the feed does. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ingest.market.time import day_number, day_start_ms
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.exchange.bars import HIGH, LOW, LTP, LTQ, LTT, OI, OPEN, PAISE, TURNOVER, VTT, Bars, Ints
from ingest.simulator.exchange.feed_messages import Candle, Greeks, Level, UpdateValues, index_feed, market_feed
from ingest.simulator.exchange.instruments import Contract
from ingest.simulator.exchange.option_pricing import Floats
from ingest.simulator.exchange.planted_trades import Draw, drawn
from ingest.simulator.exchange.prices import Fair, Prices
from ingest.simulator.exchange.trade_tape import Updates
from ingest.simulator.source import MarketFrame

ROWS_PER_SLICE = 4096  # updates built at a time: limits memory at high rates
LOTS_PER_LEVEL_MAX = 40
# Lots waiting in the whole book, on each side.
BOOK_LOTS_MIN, BOOK_LOTS_MAX = 800, 1600


class Snapshots:
    """Turn updates into frames.

    Parameters
    ----------
    contracts
        The instruments.
    depth_levels
        Levels of the book to show.
    yesterday
        The state left by the last session, one column per instrument.
    """

    def __init__(
        self,
        contracts: Sequence[Contract],
        prices: Prices,
        *,
        depth_levels: int,
        yesterday: Ints,
        rng: np.random.Generator,
        planted_rng: np.random.Generator,
    ) -> None:
        self.prices, self.depth_levels, self.rng, self.planted_rng = prices, depth_levels, rng, planted_rng
        self.keys = [contract.key for contract in contracts]
        self._lot = np.array([contract.lot for contract in contracts])
        self._is_index: list[bool] = prices.is_index.tolist()
        self._prev_close: list[float] = (yesterday[LTP] / PAISE).tolist()
        # The day candle shows the volume of the update before, because the vendor's is one update late.
        self._last_vtt: list[int] = yesterday[VTT].tolist()
        self._minute: list[Candle | None] = [None] * len(contracts)

    def show_minute(self, finished: Bars) -> None:
        """Show the bars of the last completed minute from now on, as `I1`."""
        prices = [(row / PAISE).tolist() for row in (finished.open, finished.high, finished.low, finished.close)]
        candles = zip(*prices, finished.volume.tolist(), finished.start_ms.tolist(), strict=True)
        self._minute = [candle if candle[-1] else None for candle in candles]

    def frames(self, updates: Updates, known: Ints) -> Iterator[MarketFrame]:
        """Yield updates as frames, one per step of the grid.

        Parameters
        ----------
        updates
            The instruments and steps to show.
        known
            The state that each update shows, one column per update.
        """
        step = updates.step
        # Slices are counted without planted updates, so that the others are drawn as they would be without them.
        usual = np.flatnonzero(~updates.planted)
        row = counted = 0
        while row < len(step):
            counted = min(counted + ROWS_PER_SLICE, len(usual))
            # A frame is never split: the slice includes all of its last step.
            last = step[usual[counted - 1]] if counted and counted < len(usual) else step[-1]
            end = int(np.searchsorted(step, last, side="right"))
            counted = int(np.searchsorted(usual, end))
            yield from self._slice(Updates._make(part[row:end] for part in updates), known[:, row:end])
            row = end

    def _slice(self, updates: Updates, known: Ints) -> Iterator[MarketFrame]:
        who: list[int] = updates.instrument.tolist()
        at_ms: list[int] = (self.prices.start_ms + updates.step * self.prices.grid_ms).tolist()
        fair = self.prices.fair(updates.instrument, updates.step)
        levels = self._levels(updates, fair.price)
        greeks = self._greeks(updates.instrument, fair)
        feeds: dict[str, pb.Feed] = {}
        for row, values in enumerate(self._values(updates, known, fair.iv)):
            position = who[row]
            if self._is_index[position]:
                feeds[self.keys[position]] = index_feed(values)
            else:
                feeds[self.keys[position]] = market_feed(values, levels[row], greeks.get(row))
            if row + 1 == len(who) or at_ms[row + 1] != at_ms[row]:
                yield MarketFrame(at_ms[row], feeds)
                feeds = {}

    def _values(self, updates: Updates, known: Ints, iv: Floats) -> Iterator[UpdateValues]:
        who, vtt = updates.instrument, known[VTT]
        atp = np.round(known[TURNOVER] / np.maximum(vtt, 1) / PAISE, 2)
        book = self._drawn(updates, _book_lots) * self._lot[who]
        ltp, opened, high, low = ((known[row] / PAISE).tolist() for row in (LTP, OPEN, HIGH, LOW))
        columns = zip(
            who.tolist(), ltp, known[LTT].tolist(), known[LTQ].tolist(), vtt.tolist(), known[OI].tolist(),
            atp.tolist(), iv.tolist(), *book.tolist(), opened, high, low, day_start_ms(day_number(known[LTT])).tolist(),
            strict=True,
        )  # fmt: skip
        for position, price, ltt, ltq, total, oi, average, vol, tbq, tsq, day_open, day_high, day_low, day in columns:
            candle = (day_open, day_high, day_low, price, self._last_vtt[position], day)
            self._last_vtt[position] = total
            yield UpdateValues(
                price, ltt, ltq, self._prev_close[position], total, oi, average, vol, tbq, tsq,
                candle, self._minute[position],
            )  # fmt: skip

    def _levels(self, updates: Updates, price: Floats) -> list[list[Level]]:
        """Build the book around a fair price; below the first tick there are no bids."""
        who = updates.instrument
        bid, ask = self.prices.quote(who, price)
        away = np.arange(self.depth_levels) * self.prices.tick[who][:, None]
        bids = np.maximum(bid[:, None] - away, 0)
        asks = ask[:, None] + away
        depth = self.depth_levels

        def level_lots(rng: np.random.Generator, count: int) -> Ints:
            return np.moveaxis(rng.integers(1, LOTS_PER_LEVEL_MAX, (2, count, depth)), 1, 2)

        lots = np.moveaxis(self._drawn(updates, level_lots), 2, 1) * self._lot[who][:, None]
        sides = (np.where(bids > 0, lots[0], 0), bids / PAISE, lots[1], asks / PAISE)
        rows = zip(*(side.tolist() for side in sides), strict=True)
        return [list(zip(*row, strict=True)) for row in rows]

    def _drawn(self, updates: Updates, draw: Draw) -> Ints:
        """Return random numbers for each update."""
        return drawn(self.rng, self.planted_rng, updates.planted, draw)

    def _greeks(self, who: Ints, fair: Fair) -> dict[int, Greeks]:
        """Return the greeks of updates of options, by their row."""
        rows = np.flatnonzero(fair.iv)
        options = Fair(fair.price[rows], fair.spot[rows], fair.iv[rows])
        made = self.prices.greeks(who[rows], options)
        table = np.round(np.stack(made, axis=1), 4)
        return dict(zip(rows.tolist(), map(tuple, table.tolist()), strict=True))


def _book_lots(rng: np.random.Generator, count: int) -> Ints:
    return rng.integers(BOOK_LOTS_MIN, BOOK_LOTS_MAX, (2, count))
