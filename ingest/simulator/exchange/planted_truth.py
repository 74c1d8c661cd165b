"""Which spikes are planted: chosen by a seed, and their truth as rows. Pure.

Owns the random choice and the form of the truth. `prices` and `planted_trades` plant them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ingest.errors import ConfigError
from ingest.market.time import MINUTE_MS, utc_of_ms
from ingest.simulator.exchange.instruments import Contract
from ingest.simulator.exchange.prices import PlantedSpike
from ingest.simulator.exchange.trading_day import TradingDay

CLASSES = {"EQ": "equity", "INDEX": "index", "FUT": "future", "CE": "option", "PE": "option"}
KINDS = {
    "equity": ("price", "volume", "price+volume"),
    "index": ("price",),
    "future": ("price", "volume", "price+volume", "oi"),
    "option": ("price", "volume", "price+volume", "iv", "oi"),
}
# Sizes to choose from: percent of the price (options: 10 times as much), times the volume, points, percent.
MOVES, VOLUMES, IV_POINTS, OI_PERCENT = (
    (0.3, 0.6, 1.2, 2.5),
    (5.0, 10.0, 20.0, 40.0),
    (1.0, 2.0, 4.0, 8.0),
    (3.0, 6.0, 12.0),
)
OPTION_MOVES = 10.0
FIRST_MINUTE = 35  # of a random spike: before, no detector knows what is usual
SPARED_MINUTES = 65  # between two spikes of an instrument, and before the close


def kind_of(spike: PlantedSpike) -> str:
    """Return what a spike is of: price, volume, price+volume, iv, oi, or several of them with a plus."""
    parts = {
        "price": spike.move_percent != 0,
        "volume": spike.volume_multiple != 1,
        "iv": spike.iv_points != 0,
        "oi": spike.oi_percent != 0,
    }
    return "+".join(name for name, is_there in parts.items() if is_there)


def check_plant(plant: Sequence[PlantedSpike], contracts: Sequence[Contract]) -> None:
    """Refuse spikes of what an instrument has not.

    Raises
    ------
    ConfigError
        If a key is not in the market, only options have implied volatility, or only derivatives open interest.
    """
    by_key = {contract.key: contract for contract in contracts}
    for spike in plant:
        contract = by_key.get(spike.instrument_key)
        if contract is None:
            raise ConfigError(
                f"planted key {spike.instrument_key!r} is not in the market: use one of its {len(contracts)} keys"
            )
        of = CLASSES[contract.kind]
        if spike.iv_points and of != "option":
            raise ConfigError(
                f"planted key {contract.key!r} is of class {of!r}: plant implied volatility into an option"
            )
        if spike.oi_percent and of not in ("future", "option"):
            raise ConfigError(f"planted key {contract.key!r} is of class {of!r}: plant open interest into a derivative")


def random_plant(contracts: Sequence[Contract], session: TradingDay, count: int, seed: int) -> list[PlantedSpike]:
    """Choose spikes of random instruments, minutes, kinds and sizes, sorted by minute.

    Raises
    ------
    ConfigError
        If the session has no room for so many: two of one instrument are at least 65 minutes apart.
    """
    rng = np.random.default_rng((seed, 2))
    last = (session.cash_close_ms - session.open_ms) // MINUTE_MS - SPARED_MINUTES
    slots = [
        (position, FIRST_MINUTE + SPARED_MINUTES * number)
        for position in range(len(contracts))
        for number in range(max((last - FIRST_MINUTE) // SPARED_MINUTES + 1, 0))
    ]
    if count > len(slots):
        raise ConfigError(f"{count} planted spikes are too many: this session has room for {len(slots)}")
    chosen = [slots[at] for at in rng.choice(len(slots), count, replace=False)]
    return sorted((_random_spike(contracts[at], minute, rng) for at, minute in chosen), key=lambda one: one[1::-1])


def truth_rows(
    plant: Sequence[PlantedSpike], contracts: Sequence[Contract], session: TradingDay
) -> list[dict[str, Any]]:
    """Return the truth of planted spikes.

    Returns
    -------
    list of dict
        instrument_key, trading_symbol, class (equity, index, future, option), bucket (start of the minute, UTC),
        minute (after the open), kind, and the sizes: move_percent, volume_multiple, iv_points, oi_percent.
    """
    by_key = {contract.key: contract for contract in contracts}
    rows = []
    for spike in plant:
        contract = by_key[spike.instrument_key]
        at: datetime = utc_of_ms(session.open_ms + spike.minute * MINUTE_MS)
        named = {"instrument_key": contract.key, "trading_symbol": contract.row["trading_symbol"]}
        timed = {"class": CLASSES[contract.kind], "bucket": f"{at:%Y-%m-%dT%H:%M:%SZ}", "minute": spike.minute}
        sizes = {name: value for name, value in spike._asdict().items() if name not in ("instrument_key", "minute")}
        rows.append(named | timed | {"kind": kind_of(spike)} | sizes)
    return rows


def _random_spike(contract: Contract, minute: int, rng: np.random.Generator) -> PlantedSpike:
    of = CLASSES[contract.kind]
    kind = str(rng.choice(KINDS[of]))
    sign = float(rng.choice([-1.0, 1.0]))
    move = sign * float(rng.choice(MOVES)) * (OPTION_MOVES if of == "option" else 1.0)
    volume, points, percent = (float(rng.choice(some)) for some in (VOLUMES, IV_POINTS, OI_PERCENT))
    return PlantedSpike(
        contract.key,
        minute,
        move if "price" in kind else 0.0,
        volume if "volume" in kind else 1.0,
        sign * points if kind == "iv" else 0.0,
        sign * percent if kind == "oi" else 0.0,
    )
