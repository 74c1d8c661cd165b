"""One universe over several accounts: each key once, within the limits, and few move when something changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.universe.collector_plan import CollectorPlan, account_of, as_values, spread, step
from ingest.universe.connection_plan import AccountLimits, has_room, plan

NAMES = ("mumbai", "chennai", "delhi", "pune")
NORMAL, PLUS = AccountLimits.of(plus=False), AccountLimits.of(plus=True)
SMALL = AccountLimits.of(plus=False, connections_max=1)

WANTED = st.fixed_dictionaries(
    {"ltpc": st.integers(0, 900), "full": st.integers(0, 4_500), "full_d30": st.integers(0, 60)}
).flatmap(lambda counts: st.permutations(list(counts)).map(lambda modes: universe({m: counts[m] for m in modes})))
ACCOUNTS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([NORMAL, PLUS, SMALL]), max_size=4)


def universe(counts: dict[str, int], first: int = 0) -> dict[str, str]:
    return {f"NSE_FO|{mode}{number}": mode for mode, count in counts.items() for number in range(first, first + count)}


@settings(max_examples=12, deadline=None)
@given(WANTED, ACCOUNTS)
def test_each_key_is_at_one_collector_within_its_limits_or_left_out_because_none_has_room(
    wanted: dict[str, str], accounts: dict[str, AccountLimits]
) -> None:
    made = spread(wanted, accounts)
    assert list(made.keys) == sorted(accounts)
    assert Counter([*made.left_out, *(key for keys in made.keys.values() for key in keys)]) == Counter(list(wanted))
    assert {**made.left_out, **{k: mode for keys in made.keys.values() for k, mode in keys.items()}} == wanted
    for name, keys in made.keys.items():
        plan(keys, accounts[name])  # what the collector itself does with them; raises if they do not fit
        assert not any(
            has_room(Counter(keys.values()) + Counter([mode]), accounts[name]) for mode in set(made.left_out.values())
        )
    assert spread(wanted, dict(reversed(accounts.items()))) == made  # everybody makes the same


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 3_900), st.sampled_from(NAMES[:3]))
def test_keys_of_a_lost_collector_go_to_the_others_and_come_back_and_no_other_key_moves(count: int, lost: str) -> None:
    wanted, accounts = universe({"full": count}), dict.fromkeys(NAMES[:3], NORMAL)
    before = spread(wanted, accounts)
    after = spread(wanted, {name: account for name, account in accounts.items() if name != lost})
    assert not after.left_out
    for name, keys in after.keys.items():
        assert before.keys[name].items() <= keys.items()
        assert keys.keys() - before.keys[name].keys() <= before.keys[lost].keys()
    assert spread(wanted, accounts) == before


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([100, 3_000, 7_900, 8_000, 9_000]), st.integers(0, 9_000))
def test_one_key_more_moves_few_others_even_when_all_are_full(count: int, place: int) -> None:
    keys, accounts = list(universe({"full": count})), dict.fromkeys(NAMES[:2], NORMAL)
    before = spread(dict.fromkeys(keys, "full"), accounts)
    keys.insert(min(place, count), "NSE_EQ|NEW")
    after = spread(dict.fromkeys(keys, "full"), accounts)
    home = {key: name for name, held in before.keys.items() for key in held}
    moved = [key for name, held in after.keys.items() for key in held if home.get(key, name) != name]
    assert len(moved) <= 4


def test_collector_that_may_keep_some_keys_only_gets_no_other_and_the_rest_stay_where_they_are() -> None:
    wanted, accounts = universe({"full": 3_000}), dict.fromkeys(NAMES[:3], NORMAL)
    before = spread(wanted, accounts)
    kept = set(list(before.keys["mumbai"])[::2])
    after = spread(wanted, accounts, {"mumbai": kept})
    assert set(after.keys["mumbai"]) == kept and not after.left_out
    assert all(before.keys[name].items() <= after.keys[name].items() for name in ("chennai", "delhi"))


def test_shares_follow_the_room_of_the_accounts() -> None:
    made = spread(universe({"full": 3_500}), {"mumbai": PLUS, "chennai": NORMAL})
    assert len(made.keys["mumbai"]) == pytest.approx(3_500 * 5 / 7, rel=0.05)


def test_last_keys_of_the_universe_are_left_out_and_take_the_place_of_no_earlier_one() -> None:
    wanted = universe({"full": 4_200})
    made = spread(wanted, {"mumbai": SMALL, "chennai": SMALL})
    assert list(made.left_out) == list(wanted)[4_000:]
    assert spread(wanted, {}).left_out == wanted


def copies(held: dict[str, dict[str, str]]) -> Counter[str]:
    return Counter(key for keys in held.values() for key in keys)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_steps_record_no_key_twice_lose_none_that_is_heard_and_end_at_the_plan(data: st.DataObject) -> None:
    wanted, accounts = universe({"full": 30}), dict.fromkeys(NAMES[:3], NORMAL)
    made = spread(wanted, accounts)
    held: dict[str, dict[str, str]] = {name: {} for name in accounts}
    rng = data.draw(st.randoms(use_true_random=False))
    for key in [*wanted, *universe({"full": 5}, 90)]:  # some are not wanted any more
        if owner := rng.choice([*NAMES[:3], ""]):
            held[owner][key] = "full"
    hearing: set[str] = data.draw(st.sets(st.sampled_from(NAMES[:3])))
    before, shown = {name: dict(keys) for name, keys in held.items()}, set[str]()
    for _ in range(3):
        given = step(made, held, hearing, accounts)
        shown |= {next(iter(keys)) for name, keys in given.items() if keys and not held[name]}
        assert {key for key, count in copies(given).items() if count > 1} <= shown
        for name, keys in given.items():  # one after the other, as they are told
            assert set(copies(held | {name: keys}) - copies(held)) <= {*(wanted.keys() - copies(held)), *shown}
        held = given
    for name, keys in before.items():
        for key in keys.keys() & wanted.keys() if name in hearing else ():
            assert copies(held)[key]
    for _ in range(3):
        held = step(made, held, set(accounts), accounts)
    assert held == made.keys


def test_collector_without_keys_shows_that_it_hears_before_others_let_go() -> None:
    wanted, accounts = universe({"full": 40}), dict.fromkeys(("mumbai", "chennai"), NORMAL)
    made = spread(wanted, accounts)
    probe = dict(list(made.keys["mumbai"].items())[:1])
    alone: dict[str, dict[str, str]] = {"mumbai": {}, "chennai": wanted}
    begun = step(made, alone, {"chennai"}, accounts)
    assert begun == {"mumbai": probe, "chennai": wanted}
    assert step(made, begun, {"chennai"}, accounts) == begun
    let_go = step(made, begun, set(accounts), accounts)
    assert let_go == {"mumbai": probe, "chennai": made.keys["chennai"]}
    assert step(made, let_go, set(accounts), accounts) == made.keys


def test_keys_that_wait_for_another_collector_are_dropped_where_new_ones_need_their_room() -> None:
    wanted = universe({"full": 3_000})
    accounts = {"mumbai": SMALL, "chennai": SMALL}
    made = CollectorPlan({"mumbai": dict(list(wanted.items())[:1_000]), "chennai": dict(list(wanted.items())[1_000:])})
    held: dict[str, dict[str, str]] = {"mumbai": {}, "chennai": dict(list(wanted.items())[:2_000])}
    given = step(made, held, {"chennai"}, accounts)
    assert len(given["chennai"]) == 2_000 and made.keys["chennai"].items() <= given["chennai"].items()


@pytest.mark.parametrize("account", [NORMAL, PLUS, SMALL, AccountLimits.of(plus=True, standby=True)])
def test_account_travels_as_plain_values(account: AccountLimits) -> None:
    assert account_of(as_values(account)) == account


@pytest.mark.parametrize("values", [{}, {"connections": 6, "plus": True, "standby": False}, None])
def test_values_that_are_no_account_are_refused(values: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        account_of(values)
