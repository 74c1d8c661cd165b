"""Backoff and subscription requests."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from ingest.backoff import backoff_s
from ingest.feed.subscription import REQUEST_BYTES_MAX, Request, next_request, request
from ingest.upstox.rest import chunks


@given(st.integers(1, 10_000), st.integers())
def test_backoff_stays_between_half_and_all_of_the_capped_double(attempt: int, seed: int) -> None:
    wait_s = backoff_s(attempt, random.Random(seed), first_s=2.0, max_s=60.0)
    capped = min(60.0, 2.0 * 2 ** min(attempt - 1, 30))
    assert capped / 2 <= wait_s <= capped


def test_request_is_the_vendors_json_in_bytes() -> None:
    document = json.loads(request("sub", ["NSE_EQ|X"], guid="g", mode="full"))
    assert document == {"guid": "g", "method": "sub", "data": {"mode": "full", "instrumentKeys": ["NSE_EQ|X"]}}
    assert "mode" not in json.loads(request("unsub", ["NSE_EQ|X"], guid="g"))["data"]


def test_batches_cut_without_loss() -> None:
    keys = [str(number) for number in range(156)]
    cut = list(chunks(keys, 50))
    assert [len(batch) for batch in cut] == [50, 50, 50, 6]
    assert [key for batch in cut for key in batch] == keys


def steps(asked: dict[str, str], wanted: dict[str, str], batch_keys: int) -> list[Request]:
    """All requests that lead from what was asked for to what is wanted, done as the feed does them."""
    asked, made = dict(asked), []
    while step := next_request(asked, wanted, batch_keys):
        made.append(step)
        for key in step.keys:
            if step.mode is None:
                del asked[key]
            else:
                assert (key in asked) == (step.method == "change_mode")
                asked[key] = step.mode
    assert asked == wanted
    return made


def test_next_request_of_156_keys_makes_four_batches() -> None:
    made = steps({}, {f"k{number}": "full" for number in range(156)}, 50)
    assert [(step.method, step.mode, len(step.keys)) for step in made] == [
        ("sub", "full", 50),
        ("sub", "full", 50),
        ("sub", "full", 50),
        ("sub", "full", 6),
    ]


def test_next_request_makes_room_before_it_fills_it() -> None:
    made = steps({"a": "full", "b": "full", "c": "ltpc"}, {"b": "ltpc", "c": "ltpc", "d": "full"}, 50)
    assert made == [("unsub", None, ["a"]), ("change_mode", "ltpc", ["b"]), ("sub", "full", ["d"])]


def test_next_request_is_one_message_of_a_bounded_size_whatever_the_keys() -> None:
    keys = [f'NSE_FO|{number:05}"{chr(0x20AC) * 60}' for number in range(700)]
    wanted = dict.fromkeys(keys, "option_greeks")
    made = steps({}, wanted, 2_000) + steps(wanted, dict.fromkeys(keys, "full"), 2_000) + steps(wanted, {}, 2_000)
    sizes = [len(request(step.method, step.keys, guid="0" * 32, mode=step.mode)) for step in made]
    assert len(made) > 6 and 0.9 * REQUEST_BYTES_MAX < max(sizes) <= REQUEST_BYTES_MAX
    assert len(steps({}, {"k" * 2 * REQUEST_BYTES_MAX: "full", "k": "full"}, 50)) == 2
    assert len(steps({}, {f"NSE_FO|{number}": "full" for number in range(50_000, 52_000)}, 2_000)) == 1


PLANS = st.dictionaries(st.integers(0, 40).map(str), st.sampled_from(["ltpc", "full", "option_greeks"]))


@given(PLANS, PLANS, st.integers(1, 7))
def test_next_request_always_arrives_and_asks_for_nothing_twice(
    asked: dict[str, str], wanted: dict[str, str], batch_keys: int
) -> None:
    made = steps(asked, wanted, batch_keys)
    named = [key for step in made for key in step.keys]
    assert len(named) == len(set(named))
    assert all(0 < len(step.keys) <= batch_keys for step in made)
