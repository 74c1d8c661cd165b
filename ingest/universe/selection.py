"""Select the wanted keys and their modes from rules, contracts and spot prices. Pure.

The window of options follows the spot with hysteresis: its centre is a strike, and moves when the
spot has passed the midpoint between two strikes by a fraction of their distance. So a spot that
oscillates around the midpoint does not subscribe and unsubscribe the same keys all day. Futures and
options roll by themselves: a contract is wanted up to its expiry, and `Calendar.contract_day` gives
the day whose contracts to record.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import inf
from typing import NamedTuple

ALL = "all"


class Contract(NamedTuple):
    """The columns of a master row that the rules use."""

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
        Symbols such as NIFTY or INFY, or `all`: everything that has futures. A symbol with futures on two
        exchanges means both; an underlying's instrument key means only its own.
    exclude
        Symbols or keys to leave out.
    spot
        Whether the underlying itself is wanted. With options it always is, because they follow it.
    futures
        How many, the front month first.
    option_strikes
        Strikes on each side of the strike at the money; None: no options.
    option_expiries
        Number of expiries, the nearest first.
    spot_mode, futures_mode, options_mode
        Feed mode of each class.
    hysteresis
        How far the spot must pass the midpoint between two strikes before the window moves, as a
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
    """The derivatives of one underlying on one exchange. Both exchanges use the same symbols."""

    symbol: str
    underlying_key: str
    segment: str  # of the derivatives, e.g. NSE_FO
    futures: list[Contract] = field(default_factory=list)  # by expiry
    options: dict[date, dict[float, list[str]]] = field(default_factory=dict)  # expiry -> strike -> keys, both sorted


class Window(NamedTuple):
    """A chain whose options to record; the centre of each expiry is kept for the hysteresis."""

    segment: str
    underlying_key: str
    expiry: date


@dataclass(frozen=True, slots=True)
class Universe:
    """The wanted keys.

    Parameters
    ----------
    keys
        Instrument key -> mode.
    centres
        The strike at the middle of each window, to pass to the next `wanted`.
    waiting
        Chains whose options wait for a first price of the spot.
    distances
        Strikes between an option and the money, of the options that the rules chose.
    """

    keys: dict[str, str]
    centres: dict[Window, float] = field(default_factory=dict)
    waiting: tuple[Chain, ...] = ()
    distances: dict[str, int] = field(default_factory=dict)

    def by_importance(self) -> dict[str, str]:
        """Return the keys with those last that are left out first: the options, those far from the money at the end."""
        return dict(sorted(self.keys.items(), key=lambda item: self.distances.get(item[0], -1)))

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Symbols of the chains that wait for a first price, each once."""
        return tuple(dict.fromkeys(chain.symbol for chain in self.waiting))


def chains_of(contracts: Iterable[Contract]) -> list[Chain]:
    """Group contracts by exchange and underlying; return the chains in alphabetical order of their symbols.

    The symbol is the first part of the trading symbol of the future: `M&M FUT 30 DEC 25`.
    Options without any future belong to nothing that trades and are left out.
    """
    chains: dict[tuple[str, str], Chain] = {}
    options: list[Contract] = []
    for contract in contracts:
        if contract.instrument_type != "FUT":
            options.append(contract)
            continue
        symbol = contract.trading_symbol.partition(" FUT ")[0]
        at = _chain_of(contract)
        chain = chains.setdefault(at, Chain(symbol, contract.underlying_key, at[0]))
        chain.futures.append(contract)
    for option in sorted(options, key=lambda option: (option.expiry, option.strike or 0.0, option.instrument_type)):
        if (of := chains.get(_chain_of(option))) and option.strike:
            of.options.setdefault(option.expiry, {}).setdefault(option.strike, []).append(option.instrument_key)
    for chain in chains.values():
        chain.futures.sort(key=lambda future: future.expiry)
    # NSE_FO before BSE_FO: if both have an underlying, the larger market comes first.
    return sorted(
        sorted(chains.values(), key=lambda chain: chain.segment, reverse=True), key=lambda chain: chain.symbol
    )


def _chain_of(contract: Contract) -> tuple[str, str]:
    return contract.instrument_key.partition("|")[0], contract.underlying_key


def chosen(rules: Rules, chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains named by the rules, each once, in the order of the rules; see `unknown` for other names."""
    excluded = [chain for name in rules.exclude for chain in named_by(name, chains)]
    found: dict[tuple[str, str], Chain] = {}
    for name in rules.underlyings:
        for chain in chains if name.upper() == ALL.upper() else named_by(name, chains):
            if chain not in excluded:
                found.setdefault((chain.segment, chain.underlying_key), chain)
    return list(found.values())


def unknown(names: Iterable[str], setting: str, chains: Sequence[Chain]) -> dict[str, str]:
    """Return the names of a setting without derivatives -> the problem, with the nearest name."""
    symbols = [chain.symbol for chain in chains]
    return {
        name: _unknown_text(name, setting, symbols)
        for name in names
        if name.upper() != ALL.upper() and not named_by(name, chains)
    }


def named_by(name: str, chains: Iterable[Chain]) -> list[Chain]:
    """Return the chains meant by a symbol, on each exchange, or by an underlying's instrument key."""
    return [chain for chain in chains if name.upper() in {chain.symbol.upper(), chain.underlying_key.upper()}]


def _unknown_text(name: str, setting: str, symbols: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper(), symbols, n=1)
    remedy = f"the nearest is {near[0]!r}" if near else "write its symbol, as NIFTY or INFY"
    if not symbols:
        remedy = "no instruments are loaded: run `tickline universe refresh`"
    return f"underlying {name!r} of {setting} has no futures in the instrument master: {remedy}"


def wanted(
    rules: Rules,
    chains: Sequence[Chain],
    *,
    spots: Mapping[str, float],
    on: date,
    centres: Mapping[Window, float] | None = None,
    named: Mapping[str, str] | None = None,
) -> Universe:
    """Return the wanted keys.

    Parameters
    ----------
    rules
        What to record. Unknown names are ignored.
    chains
        From `chains_of`, of today's master.
    spots
        Last price of underlyings, instrument key -> rupees. An underlying without one keeps its window,
        or has no options yet.
    on
        The day whose contracts to record (market-local): see `Calendar.contract_day`.
    centres
        `Universe.centres` of the last call; None at the first.
    named
        Keys to record whatever the rules say -> mode.
    """
    keys: dict[str, str] = {}
    middles: dict[Window, float] = {}
    distances: dict[str, int] = {}
    unpriced: list[Chain] = []
    for chain in chosen(rules, chains):
        if rules.spot or rules.option_strikes is not None:
            keys[chain.underlying_key] = rules.spot_mode
        living = [future for future in chain.futures if future.expiry >= on]
        keys |= {future.instrument_key: rules.futures_mode for future in living[: rules.futures]}
        if rules.option_strikes is None:
            continue
        for expiry in [expiry for expiry in chain.options if expiry >= on][: rules.option_expiries]:
            window, ladder = Window(chain.segment, chain.underlying_key, expiry), list(chain.options[expiry])
            before = (centres or {}).get(window)
            spot = spots.get(chain.underlying_key)
            if spot is not None and not 0 < spot < inf:  # the vendor sends 0 for "no data"
                spot = None
            if spot is None and before is None:
                unpriced.append(chain)
                break
            middle = before if spot is None else centre(ladder, spot, before, rules.hysteresis)
            assert middle is not None
            middles[window] = middle
            at = bisect_left(ladder, middle)
            first = max(at - rules.option_strikes, 0)
            for place, strike in enumerate(ladder[first : at + rules.option_strikes + 1], first):
                keys |= dict.fromkeys(chain.options[expiry][strike], rules.options_mode)
                distances |= dict.fromkeys(chain.options[expiry][strike], abs(place - at))
    given = named or {}
    distances = {key: distance for key, distance in distances.items() if key not in given}
    return Universe({**keys, **given}, middles, tuple(unpriced), distances)


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
    # The spot is past the midpoint by half the difference of its distances to both strikes.
    passed = (abs(spot - before) - abs(spot - nearest)) / 2
    return nearest if passed > hysteresis * step else before
