"""Planner: keys and modes within the vendor's limits, or a refusal with numbers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import SubscriptionError
from ingest.settings import Settings
from ingest.universe.connection_plan import LIMITS, AccountLimits, ConnectionPlan, fits, plan

NORMAL, PLUS = AccountLimits.of(plus=False), AccountLimits.of(plus=True)


def keys(**counts: int) -> dict[str, str]:
    return {f"{mode}|{number}": mode for mode, count in counts.items() for number in range(count)}


@pytest.mark.parametrize(
    ("counts", "account", "connections"),
    [
        ({}, NORMAL, []),
        ({"full": 2000}, NORMAL, [{"full": 2000}]),
        ({"full": 2001}, NORMAL, [{"full": 2000}, {"full": 1}]),
        ({"full": 3525}, NORMAL, [{"full": 2000}, {"full": 1525}]),
        ({"ltpc": 5000}, NORMAL, [{"ltpc": 5000}]),
        ({"option_greeks": 3000}, NORMAL, [{"option_greeks": 3000}]),
        ({"full": 1500, "ltpc": 2000}, NORMAL, [{"full": 1500, "ltpc": 2000}]),
        ({"full": 1501, "ltpc": 2000}, NORMAL, [{"full": 1501}, {"ltpc": 2000}]),
        ({"full": 2000, "ltpc": 5000}, NORMAL, [{"full": 2000}, {"ltpc": 5000}]),
        ({"full": 10000}, PLUS, [{"full": 2000}] * 5),
        ({"full": 1500, "full_d30": 50}, PLUS, [{"full": 1500, "full_d30": 50}]),
    ],
)
def test_plan_uses_as_few_connections_as_the_limits_allow(
    counts: dict[str, int], account: AccountLimits, connections: list[dict[str, int]]
) -> None:
    made = plan(keys(**counts), account).counts()
    assert sorted(made, key=str) == sorted(connections, key=str)


@pytest.mark.parametrize(
    ("counts", "account", "numbers"),
    [
        ({"full": 4001}, NORMAL, ["4,001 full", "2 connection", "room for 4,000", "1 too many", "TICKLINE_PLUS"]),
        ({"full": 2001}, AccountLimits.of(plus=False, connections_max=1), ["room for 2,000", "1 connection"]),
        ({"full": 4000, "ltpc": 1}, NORMAL, ["4,000 full + 1 ltpc", "2,000 full alone or 1,500", "5,000 ltpc alone"]),
        ({"full": 10001}, PLUS, ["room for 10,000", "5 connection"]),
        ({"full_d30": 1}, NORMAL, ["full_d30", "Plus"]),
        ({"full_d30": 51}, PLUS, ["51", "50 in all", "leave out 1"]),
    ],
)
def test_plan_that_does_not_fit_is_refused_with_numbers(
    counts: dict[str, int], account: AccountLimits, numbers: list[str]
) -> None:
    with pytest.raises(SubscriptionError) as error:
        plan(keys(**counts), account)
    assert all(number in str(error.value) for number in numbers), str(error.value)
    assert "\n" not in str(error.value)


def test_account_never_has_more_connections_than_the_vendor_allows() -> None:
    assert [AccountLimits.of(plus=plus, connections_max=9).connections_max for plus in (False, True)] == [2, 5]


def test_subscribe_s_of_156_keys_by_default_is_four_batches_in_three_seconds() -> None:
    config = Settings(_env_file=None)
    made = plan(keys(full=156), NORMAL)
    assert made.subscribe_s(config.subscribe_batch_keys, config.subscribe_interval_ms) == 3.0
    assert made.subscribe_s(156, 1000) == 0.0
    assert ConnectionPlan().subscribe_s(50, 1000) == 0.0


COUNTS = st.fixed_dictionaries(
    {"ltpc": st.integers(0, 6000), "option_greeks": st.integers(0, 4000), "full": st.integers(0, 4500)}
)


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.booleans())
def test_plan_places_each_key_once_within_the_limits(counts: dict[str, int], plus: bool) -> None:
    account, want = AccountLimits.of(plus=plus), keys(**counts)
    try:
        made = plan(want, account)
    except SubscriptionError:
        used = {mode: count for mode, count in counts.items() if count}
        assert not _brute_force(used, account.connections_max)
        return
    assert len(made.connections) <= account.connections_max
    assert all(map(fits, made.counts()))
    assert Counter(key for keys_ in made.connections for key in keys_) == Counter(list(want))
    assert {key: mode for keys_ in made.connections for key, mode in keys_.items()} == want


def _brute_force(counts: dict[str, int], connections: int) -> bool:
    """Whether keys fit, by trying for each connection every set of modes that it may carry."""
    if not any(count > 0 for count in counts.values()):
        return True
    if not connections:
        return False
    names = list(counts)
    for chosen in range(1, 2 ** len(names)):
        carried = [name for position, name in enumerate(names) if chosen >> position & 1]
        size = {name: LIMITS[name].alone if len(carried) == 1 else LIMITS[name].combined for name in carried}
        rest = {name: max(count - size.get(name, 0), 0) for name, count in counts.items()}
        if _brute_force(rest, connections - 1):
            return True
    return False


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 2000))
def test_plan_after_a_change_leaves_keys_where_they_are(before: int, after: int, moved: int) -> None:
    old = plan(keys(full=before), NORMAL)
    want = {f"full|{number}": "full" for number in range(moved, moved + after)}
    new = plan(want, NORMAL, old)
    home = {key: number for number, held in enumerate(old.connections) for key in held}
    assert all(home.get(key, number) == number for number, held in enumerate(new.connections) for key in held)
    assert {key for held in new.connections for key in held} == set(want)
    assert all(map(fits, new.counts()))


def test_plan_that_cannot_be_continued_is_made_anew() -> None:
    old = plan(keys(full=2000), AccountLimits.of(plus=False, connections_max=1))
    want = {**keys(full=1400), "ltpc|0": "ltpc"}
    assert plan(want, AccountLimits(1), old).counts() == [{"full": 1400, "ltpc": 1}]
    mixed = {**keys(full=1501), "ltpc|0": "ltpc"}
    with pytest.raises(SubscriptionError):
        plan(mixed, AccountLimits(1), old)
