"""Liveness of a feed: silence and slowness against its own habit."""

from __future__ import annotations

import random

from ingest.feed.frame_rate import SILENCE_PACES, SILENCE_S, USUAL_S, FrameRate, Verdict


def looked(pace: FrameRate, seconds: int, per_s: float, *, frames: float = 0.0, now_s: float = 0.0) -> list[Verdict]:
    """Look once a second while frames come at a rate; a fraction of a frame waits for the next second."""
    found = []
    for second in range(1, seconds + 1):
        found.append(pace.look(int(frames + second * per_s), now_s + second))
    return found


def begun() -> FrameRate:
    pace = FrameRate()
    pace.begin(0, 0.0)
    return pace


def test_pace_steady_feed_is_well() -> None:
    assert set(looked(begun(), 600, 10.0)) == {Verdict.WELL}
    assert set(looked(begun(), 3600, 0.1)) == {Verdict.WELL}


def test_pace_silence_is_quiet_then_dead() -> None:
    pace = begun()
    looked(pace, 120, 10.0)
    found = looked(pace, 40, 0.0, frames=1200, now_s=120)
    assert found.index(Verdict.QUIET) == SILENCE_S
    assert found.index(Verdict.DEAD) == 2 * SILENCE_S


def test_pace_thin_feed_is_given_more_time() -> None:
    pace = begun()
    looked(pace, 600, 0.2)
    found = looked(pace, 400, 0.0, frames=120, now_s=600)
    assert 0.5 * SILENCE_PACES / 0.2 < found.index(Verdict.QUIET) < 2 * SILENCE_PACES / 0.2


def test_pace_half_rate_is_slow_until_it_is_the_habit() -> None:
    pace = begun()
    looked(pace, 1200, 40.0)
    found = looked(pace, 3600, 20.0, frames=48_000, now_s=1200)
    assert Verdict.SLOW in found[:150]
    assert found[-1] is Verdict.WELL
    assert Verdict.QUIET not in found


def test_pace_uneven_arrivals_are_not_slow() -> None:
    rng, pace, frames = random.Random(7), begun(), 0
    found = set()
    for second in range(1, int(4 * USUAL_S)):
        frames += rng.choice([0, 0, 2, 5, 8, 15])
        found.add(pace.look(frames, second))
    assert found == {Verdict.WELL}


def test_pace_that_never_began_is_well() -> None:
    pace = begun()
    assert set(looked(pace, 600, 0.0)) == {Verdict.WELL}
