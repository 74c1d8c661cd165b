"""A made-up market without events, as minute bars: to count false alarms, and to plant events into. Pure.

Owns its shape: prices with a common factor, heavy tails and slowly changing activity that moves volume and volatility
together; the daily curve of the simulator; futures at a carry; options by Black-76 with a smile. It makes bars of
thousands of instruments directly, where the simulator makes every tick of a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from analytics.evaluation.classes import CLASS, CLASSES
from analytics.evaluation.planted_events.events import (
    DayArrays,
    Event,
    Floats,
    plant,
    shift_price,
    truth_of,
    usual_minute,
)
from analytics.factors import black76
from analytics.market_time import EQUITY_OPEN, MARKET_OFFSET
from analytics.schema import KEY, TIME
from ingest.errors import ConfigError

MINUTES = 375
FIRST_DAY = date(2026, 1, 5)
SATURDAY = 5
MINUTES_PER_YEAR = 252 * MINUTES
MARKET_VOLATILITY, OWN_VOLATILITY = 0.11, 0.14  # yearly
TAIL = 5  # degrees of freedom of a minute's own move: real minutes are about as heavy-tailed
ACTIVITY_SPREAD, ACTIVITY_MINUTES = 0.45, 30.0  # deviation of its log within a day, and how long it lasts
VOLUME_SPREAD, BURST_SPREAD, BURST_MINUTES = 0.5, 0.45, 4.0  # of the log of a minute's volume; how long a burst lasts
SHOCK_SHARE = 0.25  # of the volume that comes with the square of an instrument's own move
DAY_SPREAD, NIGHT_VOLATILITY = 0.3, 0.007  # of a day's activity; of a night's move
RATE, DAYS_TO_EXPIRY, DAYS_LEFT_MIN = 0.06, 45, 5
TICK = 0.05
CHAIN = 10  # options of one underlying: five strikes around the money, a call and a put each
IV_STEP, IV_NOISE, IV_MINUTES = 0.0004, 0.0003, 120.0  # of implied volatility: a minute's move, its noise, its return
KEYS = {
    "equity": "NSE_EQ|MADE{:05}",
    "index": "NSE_INDEX|MADE{:05}",
    "future": "NSE_FO|{:06}",
    "option": "NSE_FO|{:06}",
}
FIRST_NUMBER = {"equity": 0, "index": 0, "future": 100_000, "option": 200_000}
USUAL_VOLUME = {"equity": 3_000.0, "future": 60.0, "option": 40.0}  # of a minute, in lots
LOT = {"equity": 1, "future": 50, "option": 50}


class Market:
    """A market of one class, day by day; the same arguments give the same bars.

    Parameters
    ----------
    kind
        equity, index, future or option.
    instruments
        How many.
    seed
        Seed of everything that is drawn. What is drawn does not depend on planted events.

    Raises
    ------
    ConfigError
        If the class is not known.
    """

    def __init__(self, kind: str, instruments: int, *, seed: int = 1) -> None:
        if kind not in CLASSES:
            raise ConfigError(f"class {kind!r} is not known: write one of {', '.join(CLASSES)}")
        self.kind, self.seed, self.number = kind, seed, 0
        self.keys = [KEYS[kind].format(FIRST_NUMBER[kind] + position) for position in range(instruments)]
        rng = np.random.default_rng((seed, CLASSES.index(kind)))
        # Options share the spots of their underlyings.
        self._spots = -(-instruments // CHAIN) if kind == "option" else instruments
        self._of = np.arange(instruments) // CHAIN if kind == "option" else np.arange(instruments)
        self._level = np.exp(rng.normal(np.log(1_000 if kind != "index" else 20_000), 0.7, self._spots))
        self._beta = rng.uniform(0.7, 1.3, self._spots)
        self._own = OWN_VOLATILITY * rng.uniform(0.7, 1.5, self._spots) * (0.25 if kind == "index" else 1.0)
        self._usual = USUAL_VOLUME.get(kind, 0.0) * np.exp(rng.normal(0, 1.0, instruments))
        self._oi = np.round(rng.uniform(2_000, 50_000, instruments))
        self._iv = 0.11 + 0.15 * rng.random(self._spots)
        steps = np.arange(instruments) % CHAIN // 2 - CHAIN // 4
        self._strike = self._level[self._of] * (1 + 0.01 * steps)
        self._is_call = np.arange(instruments) % 2 == 0
        self._quiet: tuple[DayArrays, Floats] | None = None

    @property
    def today(self) -> date:
        """The current day; weekends are left out."""
        weeks, days = divmod(self.number + FIRST_DAY.weekday(), SATURDAY)
        return FIRST_DAY + timedelta(days=7 * weeks + days - FIRST_DAY.weekday())

    def day(self, events: Sequence[Event] = ()) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the bars of the current day with events planted, and the events' truth; again, with others, if asked.

        Returns
        -------
        tuple of polars.DataFrame
            Bars: instrument_key, bucket, open, high, low, close, volume (null for an index), oi, iv, delta, spot (where
            the class has them) and instrument_class, sorted; and `events.TRUTH`.
        """
        quiet, spot = self._drawn()
        day, rows = quiet.copy(), []
        for event in events:
            did = self._plant_iv(day, event, spot) if event.kind == "iv" else plant(day, event)
            at = self._opens() + timedelta(minutes=event.minute)
            named = {KEY: self.keys[event.instrument], CLASS: self.kind, "bucket": at}
            rows.append(named | {"kind": event.kind, "size": event.size} | did)
        return self._frame(day, spot), truth_of(rows)

    def close(self) -> None:
        """Go on to the next day, from the prices of the current one without events."""
        quiet, spot = self._drawn()
        self._level = spot[:, -1]
        if quiet.oi is not None:
            self._oi = quiet.oi[:, -1] / quiet.lot
        self.number += 1
        self._quiet = None

    def quiet_days(self, days: int) -> pl.DataFrame:
        """Return the bars of the next days without events, and go on behind them."""
        parts = []
        for _ in range(days):
            parts.append(self.day()[0])
            self.close()
        return pl.concat(parts).sort(KEY, "bucket")

    def _opens(self) -> datetime:
        return datetime.combine(self.today, time(), UTC) + EQUITY_OPEN - MARKET_OFFSET

    def _drawn(self) -> tuple[DayArrays, Floats]:
        """Return the current day without events, and the spots behind it; drawn once."""
        if self._quiet is None:
            rng = np.random.default_rng((self.seed, CLASSES.index(self.kind), 1 + self.number))
            self._quiet = self._draw(rng)
        return self._quiet

    def _draw(self, rng: np.random.Generator) -> tuple[DayArrays, Floats]:
        minute = np.arange(MINUTES)
        lively = 0.85 + 1.4 * np.exp(-minute / 20) + 0.8 * np.exp(-(MINUTES - minute) / 30)
        activity = np.exp(_autoregressive(rng, (self._spots, MINUTES), ACTIVITY_SPREAD, ACTIVITY_MINUTES))
        activity *= np.exp(rng.normal(0, DAY_SPREAD, (self._spots, 1)))
        pace = (1 + 0.8 * np.exp(-minute / 20)) * np.sqrt(activity / MINUTES_PER_YEAR)
        market = MARKET_VOLATILITY * rng.standard_normal(MINUTES) * self._beta[:, None]
        shock = rng.standard_t(TAIL, (self._spots, MINUTES)) * np.sqrt(1 - 2 / TAIL)
        own = self._own[:, None] * shock
        path = np.cumsum(pace * (market + own), axis=1)
        night = NIGHT_VOLATILITY * rng.standard_normal(self._spots) * (self.number > 0)
        end = np.log(self._level)[:, None] + night[:, None] + path
        start = np.concatenate([end[:, :1] - path[:, :1], end[:, :-1]], axis=1)
        # The extremes of a Brownian bridge from the start to the end of each minute.
        spread = 2 * (pace * np.hypot(MARKET_VOLATILITY * self._beta, self._own)[:, None]) ** 2
        drawn = -np.log(rng.random((2, self._spots, MINUTES)))
        reach = np.sqrt((end - start) ** 2 + spread * drawn)
        high, low = np.exp((start + end + reach[0]) / 2), np.exp((start + end - reach[1]) / 2)
        shape = len(self.keys), MINUTES
        noise = rng.normal(0, VOLUME_SPREAD, shape) + _autoregressive(rng, shape, BURST_SPREAD, BURST_MINUTES)
        noise = np.exp(noise - (VOLUME_SPREAD**2 + BURST_SPREAD**2) / 2)
        traded = lively * (activity * (1 - SHOCK_SHARE + SHOCK_SHARE * shock**2))[self._of] * noise
        steps = rng.normal(0, 1.0, (len(self.keys), MINUTES))
        prices = np.exp(start), high, low, np.exp(end)
        if self.kind == "index":
            return DayArrays(*prices, None), prices[3]
        lot = LOT[self.kind]
        volume = np.floor(self._usual[:, None] * traded) * lot
        if self.kind == "equity":
            return DayArrays(*prices, volume), prices[3]
        oi = np.maximum(np.cumsum(np.round(steps * 0.3 * np.sqrt(volume / lot)), axis=1) + self._oi[:, None], 1) * lot
        if self.kind == "future":
            carry = np.exp(RATE * self._years())
            opens, most, least, ends = (part * carry for part in prices)
            return DayArrays(opens, most, least, ends, volume, oi=oi, lot=lot), prices[3]
        level = self._iv[:, None] + _autoregressive(
            rng, (self._spots, MINUTES), IV_STEP * np.sqrt(IV_MINUTES / 2), IV_MINUTES
        )
        iv = self._smile(level, prices[3]) + IV_NOISE * rng.standard_normal((len(self.keys), MINUTES))
        before = np.concatenate([iv[:, :1], iv[:, :-1]], axis=1)
        opens, ends = self._price(prices[0], before), self._price(prices[3], iv)
        extremes = [self._price(part, iv) for part in (high, low)]
        most, least = (pick.reduce([opens, ends, *extremes]) for pick in (np.maximum, np.minimum))
        return DayArrays(opens, most, least, ends, volume, iv, oi, lot), prices[3]

    def _years(self) -> float:
        left = DAYS_TO_EXPIRY - (self.today - FIRST_DAY).days
        return max(left, DAYS_LEFT_MIN) / 365

    def _smile(self, level: Floats, spot: Floats) -> Floats:
        """Return the implied volatility of each option, from that at the money, as in the simulator."""
        x = np.log(self._strike[:, None] / spot[self._of]) / (level[self._of] * np.sqrt(self._years()))
        x = np.clip(x, -3, 3)
        return np.asarray(level[self._of] * (1 - 0.06 * x + 0.025 * x * x))

    def _price(self, spot: Floats, iv: Floats, row: int | slice = slice(None)) -> Floats:
        forward = spot[self._of[row]] * np.exp(RATE * self._years())
        strike, is_call = self._strike[row], self._is_call[row]
        if not isinstance(row, int):
            strike, is_call = strike[:, None], is_call[:, None]
        return black76.price(iv, forward, strike, self._years(), rate=RATE, is_call=is_call)

    def _plant_iv(self, day: DayArrays, event: Event, spot: Floats) -> dict[str, float]:
        """Plant a jump of implied volatility, which the price follows."""
        assert day.iv is not None
        row, minute = event.instrument, event.minute
        points = event.direction * event.size * usual_minute(day.iv[row : row + 1])[0]
        changed = np.maximum(day.iv[row] + points, 0.02)
        ratio = self._price(spot, changed, row) / self._price(spot, day.iv[row], row)
        day.iv[row, minute:] = changed[minute:]
        shift_price(day, row, minute, ratio[minute:])
        return {"iv_points": float(100 * points), "move": float(np.log(ratio[minute]))}

    def _frame(self, day: DayArrays, spot: Floats) -> pl.DataFrame:
        opens = self._opens()
        minutes = pl.datetime_range(
            opens, opens + timedelta(minutes=MINUTES - 1), "1m", time_unit="us", time_zone="UTC", eager=True
        )
        count = len(self.keys)
        columns: dict[str, object] = {
            KEY: pl.Series(np.repeat(np.array(self.keys, dtype=object), MINUTES), dtype=pl.String),
            "bucket": pl.concat([minutes] * count).cast(TIME),
        }
        rounded = {
            name: np.maximum(np.round(getattr(day, name) / TICK), 1) * TICK for name in ("open", "high", "low", "close")
        }
        columns |= {name: np.round(part, 2).ravel() for name, part in rounded.items()}
        columns["volume"] = (
            pl.Series([None] * (count * MINUTES), dtype=pl.Int64)
            if day.volume is None
            else day.volume.ravel().astype(np.int64)
        )
        if day.oi is not None:
            columns["oi"] = day.oi.ravel().astype(np.int64)
        if day.iv is not None:
            columns |= {
                "iv": day.iv.ravel(),
                "delta": self._delta(spot, day.iv).ravel(),
                "spot": spot[self._of].ravel(),
            }
        frame = pl.DataFrame(columns).with_columns(pl.lit(self.kind).alias(CLASS))
        # A minute without a trade has no bar.
        return frame if day.volume is None else frame.filter(pl.col("volume") > 0)

    def _delta(self, spot: Floats, iv: Floats) -> Floats:
        years = self._years()
        deviations = (np.log(spot[self._of] / self._strike[:, None]) + RATE * years) / (iv * np.sqrt(years))
        call = black76.normal(deviations + iv * np.sqrt(years) / 2)
        return np.asarray(np.where(self._is_call[:, None], call, call - 1))


def _autoregressive(rng: np.random.Generator, shape: tuple[int, int], spread: float, minutes: float) -> Floats:
    """Return series that return to 0 within some minutes, of this deviation from the first value on."""
    keep = np.exp(-1 / minutes)
    steps = rng.standard_normal(shape) * np.sqrt(1 - keep**2)
    steps[:, 0] = rng.standard_normal(shape[0])
    series = np.empty(shape)
    series[:, 0] = steps[:, 0]
    for at in range(1, shape[1]):
        series[:, at] = keep * series[:, at - 1] + steps[:, at]
    return spread * series
