"""Universe: which keys are wanted in which mode, from rules, contracts and spot prices. Pure.

The window of options follows the spot with hysteresis: its centre is a strike, and moves when the
spot has passed the middle between two strikes by a share of their distance. So a spot that swings
about that middle does not subscribe and unsubscribe the same keys all day. Futures and options roll
by themselves: a contract lives up to its expiry, and `Calendar.contract_day` says of which day the
contracts are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import NamedTuple

from sql.errors import ConfigError

ALL = "all"


class Contract(NamedTuple):
    """One row of the master, as far as the rules look at it."""

    instrument_key: str
    instrument_type: str  # FUT, CE or PE
    trading_symbol: str
    underlying_key: str
    expiry: date
    strike: float | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What to record.

    Parameters
    ----------
    underlyings
        Symbols as NIFTY or INFY, or `all`: everything that has futures.
    exclude
        Symbols to leave out of them.
    spot
        Whether the underlying itself is wanted. With options it always is: they follow it.
    futures
        How many, the front month first.
    option_strikes
        Strikes on each side of the one at the money; None: no options.
    option_expiries
        Of how many expiries, the nearest first.
    spot_mode, futures_mode, options_mode
        Feed mode of each class.
    hysteresis
        How far the spot passes the middle between two strikes before the window moves, as a
        fraction of their distance, 0 to 0.5.
    """

    underlyings: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    spot: bool = True
    futures: int = 2
    option_strikes: int | None = None
    option_expiries: int = 1
    spot_mode: str = "full"
    futures_mode: str = "full"
    options_mode: str = "full"
    hysteresis: float = 0.25


@dataclass(slots=True)
class Chain:
    """The derivatives of one underlying."""

    symbol: str
    underlying_key: str
    futures: list[Contract] = field(default_factory=list)  # by expiry
    options: dict[date, dict[float, list[str]]] = field(default_factory=dict)  # expiry -> strike -> keys, both sorted


class Window(NamedTuple):
    """A chain whose options are wanted; the centre of each is remembered for the hysteresis."""

    underlying_key: str
    expiry: date


@dataclass(frozen=True, slots=True)
class Universe:
    """What is wanted now.

    Parameters
    ----------
    keys
        Instrument key -> mode.
    centres
        The strike at the middle of each window, to be given back to the next `wanted`.
    unpriced
        Symbols whose options wait for a first price of the spot.
    """

    keys: dict[str, str]
    centres: dict[Window, float] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()


def chains_of(contracts: Iterable[Contract]) -> dict[str, Chain]:
    """Group contracts by underlying; return symbol -> chain, in alphabetical order.

    The symbol is the first part of the trading symbol of the future: `M&M FUT 30 DEC 25`.
    Options without any future belong to nothing that trades and are left out.
    """
    chains: dict[str, Chain] = {}
    options: list[Contract] = []
    for contract in contracts:
        if contract.instrument_type != "FUT":
            options.append(contract)
            continue
        symbol = contract.trading_symbol.partition(" FUT ")[0]
        chain = chains.setdefault(contract.underlying_key, Chain(symbol, contract.underlying_key))
        chain.futures.append(contract)
    for option in sorted(options, key=lambda option: (option.expiry, option.strike or 0.0, option.instrument_type)):
        if (of := chains.get(option.underlying_key)) and option.strike:
            of.options.setdefault(option.expiry, {}).setdefault(option.strike, []).append(option.instrument_key)
    for chain in chains.values():
        chain.futures.sort(key=lambda future: future.expiry)
    return {chain.symbol: chain for chain in sorted(chains.values(), key=lambda chain: chain.symbol)}


def chosen(rules: Rules, chains: Mapping[str, Chain]) -> list[Chain]:
    """Return the chains that the rules name.

    Raises
    ------
    ConfigError
        If a symbol has no derivatives. One to exclude need not be there.
    """
    symbols = [symbol.upper() for symbol in rules.underlyings]
    excluded = {symbol.upper() for symbol in rules.exclude}
    if unknown := [symbol for symbol in symbols if symbol != ALL.upper() and symbol not in chains]:
        raise ConfigError(
            f"underlying {unknown[0]!r} has no futures in the instrument master: write its symbol, as NIFTY or INFY, "
            "or record a single instrument by TICKLINE_UNIVERSE"
        )
    names = chains if ALL.upper() in symbols else dict.fromkeys(symbols)
    return [chains[name] for name in names if name not in excluded]


def wanted(
    rules: Rules,
    chains: Mapping[str, Chain],
    *,
    spots: Mapping[str, float],
    on: date,
    centres: Mapping[Window, float] | None = None,
    named: Mapping[str, str] | None = None,
) -> Universe:
    """Return the keys that are wanted.

    Parameters
    ----------
    rules
        What to record.
    chains
        From `chains_of`, of today's master.
    spots
        Last price of underlyings, instrument key -> rupees. One that is missing keeps its window,
        or has no options yet.
    on
        The day whose contracts are meant (market-local): see `Calendar.contract_day`.
    centres
        `Universe.centres` of the last call; None at the first.
    named
        Keys that are wanted whatever the rules say -> mode.

    Raises
    ------
    ConfigError
        If the rules name an underlying that has no derivatives.
    """
    keys: dict[str, str] = {}
    middles: dict[Window, float] = {}
    unpriced: list[str] = []
    for chain in chosen(rules, chains):
        if rules.spot or rules.option_strikes is not None:
            keys[chain.underlying_key] = rules.spot_mode
        living = [future for future in chain.futures if future.expiry >= on]
        keys |= {future.instrument_key: rules.futures_mode for future in living[: rules.futures]}
        if rules.option_strikes is None:
            continue
        for expiry in [expiry for expiry in chain.options if expiry >= on][: rules.option_expiries]:
            window, ladder = Window(chain.underlying_key, expiry), list(chain.options[expiry])
            before = (centres or {}).get(window)
            spot = spots.get(chain.underlying_key)
            if spot is not None and not 0 < spot < inf:  # the vendor says 0 for "no data"
                spot = None
            if spot is None and before is None:
                unpriced.append(chain.symbol)
                break
            middle = before if spot is None else centre(ladder, spot, before, rules.hysteresis)
            assert middle is not None
            middles[window] = middle
            at = bisect_left(ladder, middle)
            for strike in ladder[max(at - rules.option_strikes, 0) : at + rules.option_strikes + 1]:
                keys |= dict.fromkeys(chain.options[expiry][strike], rules.options_mode)
    return Universe({**keys, **(named or {})}, middles, tuple(unpriced))


def centre(ladder: list[float], spot: float, before: float | None, hysteresis: float) -> float:
    """Return the strike at the money.

    Parameters
    ----------
    ladder
        Strikes in ascending order, rupees; at least one.
    spot
        Price of the underlying, rupees.
    before
        The strike that was at the money; None at first.
    hysteresis
        As in `Rules`.

    Examples
    --------
    >>> centre([100.0, 110.0, 120.0], 106.0, None, 0.25)
    110.0
    >>> centre([100.0, 110.0, 120.0], 106.0, 100.0, 0.25)  # 1 past the middle, 2.5 are needed
    100.0
    >>> centre([100.0, 110.0, 120.0], 107.6, 100.0, 0.25)
    110.0
    """
    nearest = min(ladder, key=lambda strike: (abs(strike - spot), strike))
    if before is None or before not in ladder or nearest == before:
        return nearest
    at = bisect_left(ladder, before)
    step = abs(ladder[at + 1 if nearest > before else at - 1] - before)
    # The spot is as far past the middle as half of the difference of its distances to both strikes.
    passed = (abs(spot - before) - abs(spot - nearest)) / 2
    return nearest if passed > hysteresis * step else before
