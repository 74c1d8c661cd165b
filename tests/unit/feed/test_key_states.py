"""Per-key states: requested, confirmed, silent, failed."""

from __future__ import annotations

import pytest

from ingest.feed.key_states import KeyState, KeyStates, Patience

PATIENCE = Patience(confirm_s=10, silent_s=30, usual_factor=20, retry_s=60, retries_max=2)


def always(key: str) -> bool:
    return True


def never(key: str) -> bool:
    return False


@pytest.fixture
def states() -> KeyStates:
    states = KeyStates(PATIENCE)
    states.requested(["a", "b"], 0.0)
    return states


def test_updated_first_time_confirms_once(states: KeyStates) -> None:
    assert states.updated(["a", "not asked for"], 1.0) == ["a"]
    assert states.updated(["a"], 2.0) == []
    assert states.counts() == {
        KeyState.REQUESTED: 1,
        KeyState.CONFIRMED: 1,
        KeyState.SILENT: 0,
        KeyState.FAILED: 0,
    }


def test_check_key_never_heard_of_fails_and_is_named_once(states: KeyStates) -> None:
    states.updated(["a"], 1.0)
    assert states.check(10.0, always).failed == []
    assert states.check(10.1, always).failed == ["b"]
    assert states.check(11.0, always).failed == []
    assert states.in_state(KeyState.FAILED) == ["b"]


def test_check_failed_key_is_retried_at_doubling_intervals_and_then_left_alone(states: KeyStates) -> None:
    now, retried = 0.0, []
    while now < 1000:
        now += 1.0
        if again := states.check(now, always).retry:
            retried.append(now)
            states.requested(again, now)
    # Fails at 11, asked again at 71 and at 191; that is enough.
    assert retried == [71.0, 191.0]
    states.disconnected()
    states.requested(["a", "b"], now)
    assert states.check(now + 60, always).retry == ["a", "b"]


def test_failed_key_stays_counted_until_it_is_answered(states: KeyStates) -> None:
    states.updated(["a"], 1.0)
    assert states.check(11.0, always).failed == ["b"]
    states.requested(["b"], 12.0)
    assert states.in_state(KeyState.FAILED) == ["b"]
    states.disconnected()
    assert (states.in_state(KeyState.FAILED), states.in_state(KeyState.CONFIRMED)) == (["b"], [])
    states.requested(["a", "b"], 20.0)
    assert states.check(25.0, always).failed == []
    assert states.updated(["a", "b"], 26.0) == ["a", "b"]
    assert states.in_state(KeyState.FAILED) == []


def test_check_closed_segment_overdue_of_nothing_and_time_does_not_count(states: KeyStates) -> None:
    states.updated(["a"], 1.0)
    for now in range(2, 50_000, 60):
        found = states.check(float(now), never)
        assert not found.failed and not found.silent
    found = states.check(49_990.0, always)  # open for 8 s
    assert not found.failed and not found.silent


def test_check_silent_key_is_measured_by_its_own_habit() -> None:
    states = KeyStates(PATIENCE)
    states.requested(["busy", "quiet"], 0.0)
    for now in range(1, 301):
        states.updated(["busy"] if now % 10 else ["busy", "quiet"], float(now))
    assert states.check(330.0, always).silent == []
    assert states.check(331.0, always).silent == ["busy"]  # 30 s, the least that is called silent
    assert [states.check(now, always).silent for now in (380.0, 430.0, 480.0, 500.0)] == [[]] * 4
    assert states.check(501.0, always).silent == ["quiet"]  # 20 times its 10 s
    assert states.updated(["busy"], 502.0) == ["busy"]
    assert states.in_state(KeyState.CONFIRMED) == ["busy"]


def test_check_key_that_waits_for_its_batch_after_a_reconnect_is_not_overdue(states: KeyStates) -> None:
    states.updated(["a", "b"], 1.0)
    states.check(1.0, always)
    states.disconnected()
    states.requested(["a"], 60.0)
    assert states.check(60.5, always).failed == []
    found = states.check(75.0, always)
    assert (found.failed, found.silent) == (["a"], [])  # b has not been asked for yet
    states.requested(["b"], 76.0)
    states.check(80.0, never)  # a closed segment does not undo that
    assert states.check(86.1, always).failed == []
    assert states.check(90.1, always).failed == ["b"]


def test_check_first_look_after_a_night_without_checks_counts_silence_anew(states: KeyStates) -> None:
    states.updated(["a", "b"], 1.0)
    states.check(2.0, always)
    morning = 60_000.0
    assert states.check(morning, always).silent == []
    assert states.check(morning + 30, always).silent == []
    states.updated(["a"], morning + 30)
    assert states.check(morning + 31, always).silent == ["b"]


def test_disconnected_leaves_nothing_confirmed_until_it_is_asked_for_again(states: KeyStates) -> None:
    states.updated(["a", "b"], 1.0)
    states.disconnected()
    assert states.in_state(KeyState.REQUESTED) == ["a", "b"]
    states.requested(["a", "b"], 5.0)
    assert states.in_state(KeyState.REQUESTED) == ["a", "b"]
    states.removed(["a"])
    assert states.in_state(KeyState.REQUESTED) == ["b"]
