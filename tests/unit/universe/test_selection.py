"""Universe rules, on the vendor's own master of 23 December 2025 and on made-up ladders."""

from __future__ import annotations

from datetime import date
from io import BytesIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.universe.master_rows import read_master
from ingest.universe.selection import Chain, Contract, Rules, centre, chains_of, named_by, unknown, wanted
from tests.data import data_file

BANKNIFTY = "NSE_INDEX|Nifty Bank"
DEC, JAN = date(2025, 12, 30), date(2026, 1, 27)
ON = date(2025, 12, 23)


@pytest.fixture(scope="module")
def chains() -> list[Chain]:
    rows = list(read_master(BytesIO(data_file("instruments-NSE-20251223.json.gz").read_bytes())))
    return chains_of(
        Contract(
            row.instrument_key,
            row.instrument_type,
            row.trading_symbol or "",
            row.underlying_key,
            row.expiry,
            row.strike,
        )
        for row in rows
        if row.segment == "NSE_FO" and row.instrument_type and row.underlying_key and row.expiry
    )


def chain_of(chains: list[Chain], symbol: str) -> Chain:
    (found,) = named_by(symbol, chains)
    return found


def test_chains_of_the_real_master_have_every_underlying(chains: list[Chain]) -> None:
    assert len(chains) == 213
    assert {"NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50", "M&M", "INFY"} <= {
        chain.symbol for chain in chains
    }
    assert sum(len(chain.futures) for chain in chains) == 630
    assert all(len(keys) <= 2 for chain in chains for strikes in chain.options.values() for keys in strikes.values())


def test_wanted_all_spots_and_two_futures_leaves_the_excluded_out(chains: list[Chain]) -> None:
    rules = Rules(underlyings=("all",), exclude=("finnifty", "MIDCPNIFTY"))
    keys = wanted(rules, chains, spots={}, on=ON).keys
    # Four underlyings are leaving: they have one future each.
    assert len(keys) == 3 * 211 - 4
    assert chain_of(chains, "FINNIFTY").underlying_key not in keys


def test_wanted_options_wait_for_the_spot_and_surround_it(chains: list[Chain]) -> None:
    rules = Rules(
        underlyings=("BANKNIFTY",), futures=1, option_strikes=2, options_mode="option_greeks", spot_mode="ltpc"
    )
    waiting = wanted(rules, chains, spots={}, on=ON)
    assert waiting.unpriced == ("BANKNIFTY",)
    assert list(waiting.keys.values()) == ["ltpc", "full"]
    found = wanted(rules, chains, spots={BANKNIFTY: 59412.0}, on=ON)
    assert list(found.centres.values()) == [59400.0]
    expected = {
        key
        for strike in (59200, 59300, 59400, 59500, 59600)
        for key in chain_of(chains, "BANKNIFTY").options[DEC][strike]
    }
    assert {key for key, mode in found.keys.items() if mode == "option_greeks"} == expected
    assert len(expected) == 10


def test_wanted_window_stays_when_the_spot_is_unknown_for_a_while(chains: list[Chain]) -> None:
    rules = Rules(underlyings=("BANKNIFTY",), option_strikes=2)
    before = wanted(rules, chains, spots={BANKNIFTY: 59412.0}, on=ON)
    assert wanted(rules, chains, spots={}, on=ON, centres=before.centres) == before


def test_wanted_after_expiry_rolls_futures_and_options(chains: list[Chain]) -> None:
    rules = Rules(underlyings=("BANKNIFTY",), futures=1, option_strikes=1)
    last, first = (wanted(rules, chains, spots={BANKNIFTY: 59412.0}, on=day) for day in (DEC, date(2025, 12, 31)))
    futures = {contract.expiry: contract.instrument_key for contract in chain_of(chains, "BANKNIFTY").futures}
    assert futures[DEC] in last.keys and futures[DEC] not in first.keys
    assert futures[JAN] in first.keys and futures[JAN] not in last.keys
    assert [window.expiry for window in first.centres] == [JAN]
    assert set(first.keys) & set(last.keys) == {BANKNIFTY}


def test_wanted_named_keys_are_always_there(chains: list[Chain]) -> None:
    found = wanted(Rules(), chains, spots={}, on=ON, named={"NSE_EQ|INE009A01021": "ltpc"})
    assert found.keys == {"NSE_EQ|INE009A01021": "ltpc"}


def test_keys_by_importance_end_with_the_options_farthest_from_the_money(chains: list[Chain]) -> None:
    rules = Rules(underlyings=("BANKNIFTY", "NIFTY"), option_strikes=3, futures=1)
    nifty = chain_of(chains, "NIFTY")
    spots = {BANKNIFTY: 59_000.0, nifty.underlying_key: 26_000.0}
    farthest = nifty.options[min(nifty.options)][26_150.0][0]
    found = wanted(rules, chains, spots=spots, on=ON, named={farthest: "ltpc"})
    keys = list(found.by_importance())
    assert set(keys) == set(found.keys) and len(keys) == 4 + 2 * 7 * 2
    underlyings = [
        BANKNIFTY,
        nifty.underlying_key,
        *(chain_of(chains, s).futures[0].instrument_key for s in rules.underlyings),
    ]
    assert set(keys[:5]) == {*underlyings, farthest}  # what is named is not far
    assert [found.distances[key] for key in keys[5:]] == sorted(found.distances.values())
    assert list(found.distances.values()).count(3) == 2 * 2 * 2 - 1


def test_unknown_underlying_means_nothing_and_is_told_with_the_nearest_name(chains: list[Chain]) -> None:
    found = unknown(("INFYY", "all", "nifty"), "TICKLINE_UNDERLYINGS", chains)
    assert found == {
        "INFYY": "underlying 'INFYY' of TICKLINE_UNDERLYINGS has no futures in the instrument master: "
        "the nearest is 'INFY'"
    }
    assert "no instruments are loaded" in unknown(("NIFTY",), "TICKLINE_UNDERLYINGS", [])["NIFTY"]
    both = wanted(Rules(underlyings=("INFYY", "INFY"), exclude=("GONE",)), chains, spots={}, on=ON)
    assert both == wanted(Rules(underlyings=("INFY",)), chains, spots={}, on=ON)


def test_wanted_symbol_of_two_exchanges_means_both(chains: list[Chain]) -> None:
    ours = chain_of(chains, "RELIANCE")
    other = Contract("BSE_FO|80020", "FUT", "RELIANCE FUT 30 DEC 25", "BSE_EQ|INE002A01018", DEC, None)
    both = chains_of([*ours.futures, other])
    for name in ("RELIANCE", "all"):
        keys = wanted(Rules(underlyings=(name,)), both, spots={}, on=ON).keys
        assert {ours.futures[0].instrument_key, "BSE_FO|80020", ours.underlying_key, "BSE_EQ|INE002A01018"} <= set(keys)
    only = wanted(Rules(underlyings=("all",), exclude=("BSE_EQ|INE002A01018",)), both, spots={}, on=ON).keys
    assert "BSE_FO|80020" not in only and ours.underlying_key in only


LADDER = [float(strike) for strike in range(100, 210, 10)]


@given(st.lists(st.floats(90, 220), min_size=1, max_size=50), st.floats(0, 0.5))
def test_centre_is_always_within_the_hysteresis_of_the_spot(spots: list[float], hysteresis: float) -> None:
    middle = None
    for spot in spots:
        middle = centre(LADDER, spot, middle, hysteresis)
        assert middle in LADDER
        nearest = min(abs(strike - spot) for strike in LADDER)
        assert abs(middle - spot) - nearest <= 2 * hysteresis * 10 + 1e-9


@given(st.lists(st.floats(-0.24, 0.24), min_size=2, max_size=50), st.sampled_from([100.0, 110.0]))
def test_centre_of_a_spot_that_swings_about_the_middle_never_moves(swings: list[float], start: float) -> None:
    middles = [start]
    for swing in swings:
        middles.append(centre(LADDER, 105.0 + swing * 10, middles[-1], 0.25))
    assert all(a == b for a, b in pairwise(middles))
