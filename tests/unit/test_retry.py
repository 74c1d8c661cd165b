"""Backoff and subscription requests."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from ingest.retry import backoff_s
from ingest.subscription import batches, request, requests


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
    cut = list(batches(keys, 50))
    assert [len(batch) for batch in cut] == [50, 50, 50, 6]
    assert [key for batch in cut for key in batch] == keys


def test_requests_have_one_mode_each_and_every_key_once() -> None:
    wanted = {f"k{number}": "full" if number % 3 else "ltpc" for number in range(156)}
    made = list(requests(wanted, 50))
    assert [(mode, len(keys)) for mode, keys in made] == [
        ("ltpc", 50),
        ("ltpc", 2),
        ("full", 50),
        ("full", 50),
        ("full", 4),
    ]
    assert {key: mode for mode, keys in made for key in keys} == wanted
