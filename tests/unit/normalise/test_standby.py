"""Two connections with the same keys: each update is taken once, and what neither says is lost."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from ingest.decode.frames import decode_all
from ingest.model.records import Record, RecordKind
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.normalise.standby import LostKeys, Standby
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.store.row_buffer import RowBuffer

BEGIN_MS = 1_763_438_400_000  # 2025-11-18 09:30 IST
KEYS = ("NSE_FO|1", "NSE_FO|2")
_TRADED, _VOLUME = TICK_COLUMN_NAMES.index("traded"), TICK_COLUMN_NAMES.index("volume")


def event(kind: RecordKind, socket: int, **facts: object) -> Record:
    return Record(kind, 1, 1, json.dumps(facts).encode(), 1, socket)


def connected(socket: int, run: str = "run") -> Record:
    return event(RecordKind.CONNECTED, socket, pair=run)


def lost(socket: int) -> Record:
    return event(RecordKind.DISCONNECTED, socket, reason="no close frame")


def frame(ms: int, *updates: tuple[str, int], bid: float = 99.0, initial: bool = False) -> bytes:
    """A frame of instruments with their `vtt`; a trade is as old as its `vtt` says."""
    message = pb.FeedResponse(type=pb.initial_feed if initial else pb.live_feed, currentTs=BEGIN_MS + ms)
    for key, vtt in updates:
        feed = message.feeds[key]
        feed.requestMode = pb.full_d5
        market = feed.fullFeed.marketFF
        market.ltpc.CopyFrom(pb.LTPC(ltp=100.0 + vtt, ltt=BEGIN_MS + vtt, ltq=1, cp=90.0))
        market.vtt = vtt
        market.marketLevel.bidAskQuote.add(bidQ=1, bidP=bid, askQ=1, askP=101.0)
    return message.SerializeToString()


class Stream:
    """A normaliser that is given records of two sockets."""

    def __init__(self) -> None:
        self.normaliser = Normaliser()
        self.normaliser.learn(InstrumentRef(number, key) for number, key in enumerate(KEYS))
        self.rows = RowBuffer(1_000)
        self.duplicates = 0
        self.note(connected(0))
        self.note(connected(1))

    def note(self, record: Record) -> LostKeys:
        return self.normaliser.standby.note(record)

    def take(self, socket: int, *payloads: bytes) -> int:
        """Return how many rows they made."""
        before = self.rows.rows
        frames = decode_all(list(payloads))
        count = len(payloads)
        self.rows.extend(
            self.normaliser.apply(
                frames,
                seq=np.arange(count),
                received_us=np.arange(count) + 1,
                sockets=np.full(count, socket),
            )
        )
        self.duplicates += self.normaliser.duplicates
        self.normaliser.forget_findings()
        return self.rows.rows - before

    def both(self, *keys: str) -> None:
        """Let both speak of instruments, twice: then both have joined in."""
        for ms in (10, 20):
            for socket in (0, 1):
                self.take(socket, frame(ms, *((key, 5) for key in keys)))


def test_pair_takes_each_update_once_whoever_is_first() -> None:
    stream = Stream()
    assert stream.take(0, frame(100, (KEYS[0], 10)), frame(200, (KEYS[0], 20))) == 2
    assert stream.take(1, frame(100, (KEYS[0], 10)), frame(200, (KEYS[0], 20)), frame(300, (KEYS[0], 30))) == 1
    assert stream.take(0, frame(300, (KEYS[0], 30))) == 0
    assert stream.duplicates == 3


def test_pair_same_content_at_another_time_is_a_duplicate_and_a_new_book_is_not() -> None:
    stream = Stream()
    stream.both(KEYS[0])
    assert stream.take(0, frame(100, (KEYS[0], 10))) == 1
    assert stream.take(1, frame(130, (KEYS[0], 10))) == 0
    assert stream.take(1, frame(140, (KEYS[0], 10), bid=98.0)) == 1
    assert stream.take(0, frame(140, (KEYS[0], 10), bid=98.0)) == 0


def test_pair_of_servers_whose_clocks_differ_loses_no_trade() -> None:
    stream = Stream()
    stream.both(KEYS[0])
    stream.take(0, frame(1_000, (KEYS[0], 10)))  # its clock is 900 ms ahead
    stream.take(1, frame(100, (KEYS[0], 10)))
    stream.note(lost(0))
    assert stream.take(1, frame(200, (KEYS[0], 20)), frame(300, (KEYS[0], 30))) == 2


def test_pair_repeated_update_of_one_connection_is_kept_as_without_a_standby() -> None:
    stream = Stream()
    assert stream.take(0, frame(100, (KEYS[0], 10)), frame(100, (KEYS[0], 10))) == 2


def test_pair_loses_nothing_while_the_other_speaks_and_the_rest_with_it() -> None:
    stream = Stream()
    stream.both(KEYS[0])
    stream.take(0, frame(100, (KEYS[1], 10)))
    assert stream.note(lost(0)) == LostKeys(False, [1])  # the standby has not spoken of the second yet
    assert stream.note(connected(0)) == LostKeys(False, [])
    assert stream.note(lost(0)) == LostKeys(False, [])
    assert stream.note(lost(1)) == LostKeys(True, [0])
    assert stream.note(connected(1)) == LostKeys(True, [])


def test_pair_snapshot_after_a_reconnect_makes_no_row_and_brings_what_is_new() -> None:
    stream = Stream()
    stream.both(KEYS[0])
    stream.note(lost(0))
    stream.note(connected(0))
    assert stream.take(0, frame(500, (KEYS[0], 10), initial=True)) == 0
    stream.note(lost(0))
    stream.note(connected(0))
    assert stream.take(0, frame(600, (KEYS[0], 30), initial=True)) == 0  # what the other has on its way comes first
    assert stream.take(0, frame(650, (KEYS[0], 35))) == 0
    assert stream.take(1, frame(590, (KEYS[0], 20)), frame(600, (KEYS[0], 30)), frame(650, (KEYS[0], 35))) == 3
    assert stream.rows.values()[-3:, _VOLUME].tolist() == [15, 10, 5]  # nobody had left off listening
    assert stream.take(0, frame(700, (KEYS[0], 40))) == 1


def test_pair_newcomer_has_joined_in_when_the_other_has_come_to_where_it_is() -> None:
    stream = Stream()
    stream.both(*KEYS)
    stream.note(lost(0))
    stream.note(connected(0))
    stream.take(0, frame(500, (KEYS[0], 5), (KEYS[1], 5), initial=True))
    assert not stream.normaliser.standby.could_go_on(0)
    stream.take(1, frame(500, (KEYS[1], 6)))
    assert stream.normaliser.standby.could_go_on(0)
    assert stream.note(lost(1)) == LostKeys(False, [])
    assert stream.take(0, frame(600, (KEYS[0], 20))) == 1
    assert stream.rows.values()[-1, _VOLUME] == 15  # a trade, not a snapshot's gap


def test_pair_that_dies_before_the_newcomer_has_joined_in_is_a_gap() -> None:
    stream = Stream()
    stream.take(0, frame(100, (KEYS[0], 10)))
    stream.take(1, frame(500, (KEYS[0], 30), initial=True), frame(600, (KEYS[0], 40)))
    assert stream.note(lost(0)) == LostKeys(False, [0])
    assert stream.take(1, frame(700, (KEYS[0], 50))) == 1
    assert stream.note(lost(1)) == LostKeys(True, [0])


def test_pair_of_another_process_listens_no_more() -> None:
    stream = Stream()
    stream.take(0, frame(100, (KEYS[0], 10)))
    assert stream.note(connected(1, "next")) == LostKeys(True, [])
    assert stream.note(connected(0, "next")) == LostKeys(False, [])
    assert stream.take(1, frame(500, (KEYS[0], 10), initial=True)) == 1  # a snapshot, as after every break


def test_pair_rejected_update_of_one_is_taken_from_the_other() -> None:
    stream = Stream()
    stream.both(KEYS[0])
    assert stream.take(0, frame(200, (KEYS[0], 2**60))) == 0
    assert stream.take(1, frame(200, (KEYS[0], 20))) == 1


def test_without_a_pair_nothing_is_remembered() -> None:
    standby = Standby()
    assert standby.note(event(RecordKind.CONNECTED, 0, connection=1)) == LostKeys(True, [])
    assert standby.note(event(RecordKind.UNSUBSCRIBED, 0, instrument_keys=[])) == LostKeys(False, [])
    assert not standby.run and not standby.dump()["said"]


@pytest.mark.parametrize("seed", range(20))
def test_pair_random_interleaving_and_losses_give_the_trades_of_one_feed(seed: int) -> None:
    """Both bring the same frames, each at its own pace; one at a time is cut, and comes back with a snapshot."""
    rng = random.Random(seed)
    traded = dict.fromkeys(KEYS, 0)
    sent: list[tuple[int, tuple[tuple[str, int], ...]]] = []
    for number in range(200):
        keys = rng.sample(KEYS, rng.randint(1, 2))
        for key in keys:
            traded[key] = (number + 1) * 10 if rng.random() < 0.6 else traded[key]
        sent.append(((number + 1) * 100, tuple((key, traded[key]) for key in keys if traded[key])))
    alone = Stream()
    alone.take(0, *(frame(ms, *updates) for ms, updates in sent))
    stream, at, cuts = Stream(), [0, 0], 0
    loaded = Normaliser.load(stream.normaliser.dump())
    while min(at) < len(sent):
        if rng.random() < 0.03:
            stream.normaliser = Normaliser.load(stream.normaliser.dump())  # as after a restart from a checkpoint
        socket = rng.randrange(2)
        said = stream.normaliser.standby._said.values()
        others = len(said) == len(KEYS) and stream.normaliser.standby.could_go_on(1 - socket)
        if rng.random() < 0.2 and others:  # cut; its snapshot is of what the other has reached, or later
            cuts += 1
            stream.note(lost(socket))
            stream.note(connected(socket))
            at[socket] = max(at)
            state = {key: vtt for _, updates in sent[: at[socket]] for key, vtt in updates}
            stream.take(socket, frame(at[socket] * 100, *state.items(), initial=True))
        for _ in range(rng.randrange(12)):
            if at[socket] < len(sent) and sent[at[socket]][1]:
                stream.take(socket, frame(sent[at[socket]][0], *sent[at[socket]][1]))
            at[socket] = min(at[socket] + 1, len(sent))
    one, two = alone.rows.values(), stream.rows.values()
    assert loaded.standby.run == "run"
    assert cuts
    for instrument in range(len(KEYS)):
        volumes = [rows[rows[:, 1] == instrument][:, _VOLUME] for rows in (one, two)]
        assert np.nansum(volumes[0]) == np.nansum(volumes[1])
    for columns in ([1, _TRADED], [1, TICK_COLUMN_NAMES.index("ltt"), TICK_COLUMN_NAMES.index("vtt")]):
        first, second = (
            sorted(map(tuple, np.nan_to_num(rows[rows[:, _TRADED] == 1][:, columns]))) for rows in (one, two)
        )
        assert first == second
