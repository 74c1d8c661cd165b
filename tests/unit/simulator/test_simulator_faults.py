"""Faults of the simulator: the plan of a bad day, what is sent in it, and the options that make it."""

from __future__ import annotations

import gzip
from io import BytesIO
from itertools import islice

import pytest
from click.testing import CliRunner

from ingest.cli.trial.fault_options import FAULTS, Fault, bad_day
from ingest.cli.trial.simulate import command
from ingest.model.frames import FrameType
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.server.faults import Act, BadDay, Episode, Faults, Turn
from ingest.simulator.server.frame_bytes import entry, feed_response
from ingest.simulator.server.frame_faults import TEXT, Spoiler
from ingest.simulator.server.odd_data import POISONOUS_KEYS, UNKNOWN_KEYS, as_json, odd_rows, odd_status
from ingest.universe.master_rows import OddRows, read_master

KEYS = frozenset({"NSE_FO|1", "NSE_FO|2"})


def frame(current_ms: int, kind: FrameType = FrameType.LIVE_FEED) -> bytes:
    return feed_response(kind, current_ms, [entry("NSE_FO|1", pb.Feed(ltpc=pb.LTPC(ltp=1.5)))])


def sent(faults: Faults, frames: int = 12) -> list[tuple[bytes | str, int]]:
    spoiler = Spoiler(faults)
    return [message for number in range(1, frames + 1) for message in spoiler.take(frame(number * 1000), 1)]


def times(messages: list[tuple[bytes | str, int]]) -> list[int]:
    return [pb.FeedResponse.FromString(one).currentTs // 1000 for one, _ in messages if isinstance(one, bytes)]


def test_turns_come_in_order_and_the_same_seed_gives_the_same() -> None:
    def day(seed: int) -> list[Turn]:
        plan = BadDay(
            episodes=(Episode("refuse", 429, 7.0, 5.0),),
            closes=((1011, 12.0), (1001, 3.0)),
            drop_every_s=5.0,
            drop_random_s=4.0,
            odd_status_every_s=6.0,
            token_expires_s=9.0,
            seed=seed,
        )
        return list(islice(plan.turns(), 40))

    turns = day(1)
    assert [turn.at_s for turn in turns] == sorted(turn.at_s for turn in turns)
    assert {turn.act for turn in turns} == set(Act)
    assert [turn.at_s for turn in turns if turn.act is Act.SWITCH] == [7.0, 12.0]
    assert turns == day(1) != day(2)


def test_random_drops_are_as_far_apart_as_was_asked() -> None:
    turns = list(islice(BadDay(drop_random_s=45.0).turns(), 4_000))
    assert turns[-1].at_s / len(turns) == pytest.approx(45.0, rel=0.1)


def test_switches_hold_from_their_start_to_their_end_and_the_later_given_wins() -> None:
    day = BadDay(episodes=(Episode("refuse", 401), Episode("refuse", 429, 10.0, 5.0), Episode("mute", "NSE_FO|1", 3.0)))
    faults = Faults()
    found = []
    for at_s in (0.0, 9.9, 10.0, 14.9, 15.0):
        day.switch(faults, at_s, KEYS)
        found.append((faults.refuse, set(faults.mute)))
    assert found == [(401, set()), *[(one, {"NSE_FO|1"}) for one in (401, 429, 429, 401)]]


def test_all_keys_are_muted_and_what_changes_is_said() -> None:
    faults = Faults()
    day = BadDay(episodes=(Episode("mute", "all", 0.0, 2.0), Episode("clock_off_s", -6.0, 1.0)))
    assert day.switch(faults, 0.0, KEYS) == ["mute all"]
    assert faults.mute == KEYS
    assert day.switch(faults, 1.0, KEYS) == ["clock_off_s -6.0"]
    assert day.switch(faults, 2.0, KEYS) == ["mute off"]
    assert (faults.mute, faults.clock_off_s) == (set(), -6.0)


def test_frames_are_left_out_repeated_and_swapped_as_often_as_was_asked() -> None:
    assert times(sent(Faults())) == list(range(1, 13))
    assert times(sent(Faults(skip_every=2))) == [1, 3, 5, 7, 9, 11]
    assert times(sent(Faults(repeat_every=4), 8)) == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert times(sent(Faults(swap_every=3), 8)) == [1, 2, 4, 3, 5, 7, 6, 8]


def test_text_and_crowd_come_before_a_frame_and_huge_is_read_like_any() -> None:
    messages = sent(Faults(text_every=6))
    assert [number for number, (one, _) in enumerate(messages) if one == TEXT] == [5, 12]
    crowded = pb.FeedResponse.FromString(sent(Faults(crowd_every=2), 2)[1][0])  # type: ignore[arg-type]
    assert len(crowded.feeds) == UNKNOWN_KEYS and crowded.currentTs == 2000
    huge = sent(Faults(huge_every=3), 3)[2]
    assert len(huge[0]) > 2 * 2**20 and times([huge]) == [3]


def test_truncated_frames_are_prefixes_and_the_same_seed_cuts_the_same() -> None:
    first, second = sent(Faults(truncate_every=1, seed=4)), sent(Faults(truncate_every=1, seed=4))
    assert first == second != sent(Faults(truncate_every=1, seed=5))
    for number, (payload, updates) in enumerate(first, 1):
        whole = frame(number * 1000)
        assert isinstance(payload, bytes) and whole.startswith(payload) and 0 < len(payload) < len(whole)
        assert updates == 0


def test_poisonous_keys_come_beside_true_ones_each_in_turn() -> None:
    messages = sent(Faults(poison_every=1), len(POISONOUS_KEYS))
    for (payload, _), key in zip(messages, POISONOUS_KEYS, strict=True):
        assert set(pb.FeedResponse.FromString(payload).feeds) == {"NSE_FO|1", key}  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", list(FrameType))
def test_clock_is_off_in_frames_of_every_kind(kind: FrameType) -> None:
    ((payload, _),) = Spoiler(Faults(clock_off_s=-6.0)).take(frame(10_000, kind), 1)
    message = pb.FeedResponse.FromString(payload)  # type: ignore[arg-type]
    assert message.currentTs == 4_000 and set(message.feeds) == {"NSE_FO|1"} and message.type == kind


def test_odd_statuses_are_frames_of_that_kind() -> None:
    kinds = {odd_status(number, 5) for number in range(16)}
    assert len(kinds) == 8
    assert all(pb.FeedResponse.FromString(payload).type == pb.market_info for payload in kinds)


def test_odd_rows_are_as_many_as_asked_and_cost_themselves_only() -> None:
    good = [{"instrument_key": f"NSE_EQ|{one}", "segment": "NSE_EQ"} for one in range(200)]
    rows = odd_rows(27, 1)
    assert as_json(rows) == as_json(odd_rows(27, 1)) != as_json(odd_rows(27, 2))
    odd = OddRows()
    read = list(read_master(BytesIO(gzip.compress(as_json([*rows, *good]))), odd))
    assert [row.instrument_key for row in read] == [row["instrument_key"] for row in good]
    assert odd.count == len(rows) == 27


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_option_takes_its_example_and_help_shows_it(fault: Fault) -> None:
    read = fault.read(fault.example.strip("'"))
    given = {one.parameter: None for one in FAULTS} | {fault.parameter: (read,) if fault.multiple else read}
    assert bad_day(given, seed=1) != BadDay()
    assert f"{fault.name} {fault.example}" in CliRunner().invoke(command, ["--help"]).output


@pytest.mark.parametrize(
    ("option", "values"),
    {
        "--drop-every": ["", "0", "-1", "nan", "inf", "1e9", "30s", "30@5"],
        "--close": ["1011", "1006@5", "999@5", "5000@5", "1011@", "1011@-1", "x@5"],
        "--refuse": ["", "200", "429@", "429@5+", "429@-5", "429 @5", "4e2", "429@5+5+5"],
        "--mute": ["", "@5", "NSE_FO|1"],
        "--skip-every": ["0", "1.5", "-2", "2@x"],
        "--clock-off": ["", "nan", "1e9", "six"],
        "--odd-rows": ["0", "5@3", "1000000"],
        "--token-expires": ["soon", "-1"],
    }.items(),
)
def test_option_that_cannot_be_read_is_wrong_usage_and_says_how_to_write_it(option: str, values: list[str]) -> None:
    for value in values:
        ran = CliRunner().invoke(command, ["--generate", "--port", "0", f"{option}={value}"])
        assert ran.exit_code == 2, (value, ran.output)
        assert option in ran.output.splitlines()[-1]


def test_key_with_an_at_sign_is_muted_with_and_without_a_time() -> None:
    (mute,) = (fault for fault in FAULTS if fault.name == "--mute")
    assert mute.read("NSE_EQ|A@B") == Episode("mute", "NSE_EQ|A@B")
    assert mute.read("NSE_EQ|A@B@60+1.5") == Episode("mute", "NSE_EQ|A@B", 60.0, 1.5)
