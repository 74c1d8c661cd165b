"""Life of a connection: the table, the waits, what a 403 means."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feed.lifecycle import GOOD_S, OPEN, TRANSITIONS, Action, Event, Lifecycle, State, meaning_of_403

LIMITS = {"first_s": 2.0, "max_s": 60.0}
TO_LIVE = (Event.GRANTED, Event.OPENED, Event.HEARD)


def lived(*events: Event, seconds: float = 1.0, life: Lifecycle | None = None) -> Lifecycle:
    """A life to which things happened, a second apart."""
    life = life or Lifecycle()
    for event in events:
        life.happen(event, life.since_s + seconds)
    return life


def test_life_every_state_can_be_reached_and_left_towards_live() -> None:
    after: dict[State, set[State]] = {state: set() for state in State}
    for (state, _), (then, _) in TRANSITIONS.items():
        after[state].add(then)

    def reachable(start: State) -> set[State]:
        found, ahead = {start}, [start]
        while ahead:
            fresh = after[ahead.pop()] - found
            found |= fresh
            ahead += fresh
        return found

    assert reachable(State.AUTHORISING) == set(State)
    assert all(State.LIVE in reachable(state) for state in State)


@given(st.randoms(use_true_random=False), st.integers(1, 200))
def test_life_random_events_never_hang_and_never_wait_beyond_the_cap(rng: random.Random, steps: int) -> None:
    life, now_s = Lifecycle(), 0.0
    for _ in range(steps):
        event = rng.choice([event for state, event in TRANSITIONS if state is life.state])
        now_s += rng.random() * 100
        action = life.happen(event, now_s)
        if action is Action.WAIT:
            assert 0 <= life.wait_s(rng, **LIMITS) <= LIMITS["max_s"]
        assert (action in {Action.RECEIVE, Action.GO_ON}) == (life.state in OPEN)


def test_life_failures_double_the_wait_up_to_the_cap() -> None:
    rng, life, waits = random.Random(1), Lifecycle(), []
    for _ in range(8):
        lived(Event.LOST, life=life)
        waits.append(life.wait_s(rng, **LIMITS))
        lived(Event.DUE, life=life)
    for wait_s, full_s in zip(waits, [2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert full_s / 2 <= wait_s <= full_s


def test_life_a_good_minute_forgets_failures_and_reconnects_at_once() -> None:
    life = lived(*[Event.LOST, Event.DUE] * 5, *TO_LIVE)
    life.happen(Event.LOST, life.since_s + GOOD_S)
    assert life.failures == 1
    assert life.wait_s(random.Random(1), **LIMITS) < 0.5
    lived(Event.DUE, Event.LOST, life=life)
    assert life.failures == 2
    assert life.wait_s(random.Random(1), **LIMITS) >= 1.0


def test_life_a_connection_that_breaks_at_once_each_time_backs_off() -> None:
    life = Lifecycle()
    for _ in range(6):
        lived(*TO_LIVE, Event.LOST, Event.DUE, life=life)
    assert life.failures == 6


def test_life_silence_does_not_restart_the_good_minute() -> None:
    life = lived(*TO_LIVE)
    life.happen(Event.QUIET, life.since_s + 30)
    life.happen(Event.HEARD, life.since_s + 30)
    life.happen(Event.LOST, life.since_s + 1)
    assert life.failures == 1


@pytest.mark.parametrize("events", [[Event.BUSY], [Event.FORBIDDEN, Event.DUE, Event.FORBIDDEN]])
def test_life_a_refusal_that_haste_makes_worse_waits_long_from_the_start(events: list[Event]) -> None:
    assert lived(*events).wait_s(random.Random(1), **LIMITS) >= LIMITS["max_s"] / 2


def test_life_refused_token_waits_for_another_and_for_nothing_else() -> None:
    life = lived(Event.UNAUTHORISED)
    assert life.state is State.WAITING_FOR_TOKEN
    assert [event for state, event in TRANSITIONS if state is life.state] == [Event.NEW_TOKEN]


@pytest.mark.parametrize(
    ("forbidden", "at_handshake", "uses_d30", "said"),
    [
        (1, False, False, "may not use the feed"),
        (1, True, False, "trying with a new one"),
        (2, True, False, "too many connections are open"),
        (4, True, True, "full_d30"),
        (4, True, False, "log in again"),
    ],
)
def test_meaning_of_403_tells_causes_apart(forbidden: int, at_handshake: bool, uses_d30: bool, said: str) -> None:
    assert said in meaning_of_403(forbidden, at_handshake=at_handshake, uses_d30=uses_d30)
