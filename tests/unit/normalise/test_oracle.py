"""Columns against the oracle: the same rows, counts, gaps, rejects and state, whatever comes and however it is cut."""

from __future__ import annotations

import random
from itertools import accumulate, islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as vendor

from ingest.decode.frames import decode_all
from ingest.errors import DecodeError
from ingest.journal.recording import read_recording
from ingest.market.time import DAY_MS
from ingest.model.frames import FrameType, Mode, Update
from ingest.model.ticks import CARRIED_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.row_buffer import RowBuffer
from tests.data import data_file
from tests.unit import decode_oracle, oracle
from tests.unit.decode.test_decoders_agree import damaged

OPEN_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
KEYS = ["NSE_FO|60166", "NSE_FO|51414", "NSE_EQ|INE118H01025", "NSE_INDEX|Nifty 50"]
RECEIVED_US = 1_765_770_300_123_456

Interrupt = list[str] | None  # keys, or all of them
Item = decode_oracle.Frame | tuple[Interrupt]


def learn(*normalisers: Any) -> None:
    for normaliser in normalisers:
        normaliser.learn(InstrumentRef(number, key) for number, key in enumerate(KEYS, 1))


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((rows[:, 1], rows[:, 2]))]


def states_of(normaliser: Normaliser) -> dict[str, dict[str, Any]]:
    """The state in the oracle's words."""
    found = {}
    for place, key in enumerate(normaliser.states._places):
        reference = normaliser.states.last_trades[place]
        found[key] = {name: reference[name].item() for name in reference.dtype.names}
        found[key] |= dict(zip(CARRIED_NAMES, normaliser.states.carried[place].tolist(), strict=True))
    return found


def oracle_states(normaliser: oracle.Normaliser) -> dict[str, dict[str, Any]]:
    found = {}
    for key, state in normaliser.states.items():
        names = ("instrument_id", "is_index", "mode", "day", "ltt_ms", "vtt", "ltp", "ltq", "connected")
        names += ("oi", "atp", "iv", "prev_close")
        found[key] = {name: getattr(state, name) for name in names} | {"lows": len(state.lows)}
        found[key] |= dict(zip(("bid", "bid_qty", "ask", "ask_qty", "tbq", "tsq"), state.depth, strict=True))
        found[key] |= dict(zip(("delta", "gamma", "theta", "vega", "rho"), state.greeks, strict=True))
        found[key] |= dict(zip(("day_open", "day_high", "day_low"), state.day_candle, strict=True))
    return found


def same(one: Any, two: Any) -> bool:
    return bool(np.array_equal(one, two, equal_nan=isinstance(one, float)))


prices = st.sampled_from([0.0, 100.0, 100.05, 101.0])
quantities = st.sampled_from([0, 5, 75])
depths = st.none() | st.tuples(
    prices, quantities, prices, quantities, st.sampled_from([0.0, 9.0, float("nan")]), prices
)
impossible = st.sampled_from(
    [
        {"ltp": float("nan")}, {"ltp": -1.0}, {"ltp": 1e9}, {"vtt": -1}, {"vtt": 2**60}, {"ltq": -3},
        {"oi": float("inf")}, {"ltt_ms": -5}, {"ltt_ms": OPEN_MS + 30 * DAY_MS}, {"ltp": -1.0, "vtt": -1},
    ]
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> list[Item]:
    """Frames of a market that goes on, steps back, changes its day and its mode; and breaks between them."""
    items: list[Item] = []
    now, vtt = OPEN_MS, dict.fromkeys(KEYS, 100)
    modes = dict.fromkeys(KEYS, int(Mode.FULL))
    for _ in range(draw(st.integers(1, 25))):
        if draw(st.integers(0, 9)) == 0:
            items.append((draw(st.none() | st.lists(st.sampled_from([*KEYS, "NSE_EQ|unknown"]), max_size=2)),))
            continue
        now += draw(st.sampled_from([0, 250, 250, 1000, 59_000, 61_000, DAY_MS - 50, DAY_MS]))
        updates = []
        for key in draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=len(KEYS))):
            vtt[key] += draw(st.sampled_from([0, 0, 0, 75, 75, 150, -75]))
            if draw(st.integers(0, 29)) == 0:  # the exchange's count begins again
                vtt[key] = draw(st.sampled_from([20, 60]))
            if draw(st.integers(0, 19)) == 0:
                modes[key] = int(draw(st.sampled_from(list(Mode))))
            update = Update(
                key, modes[key], draw(prices), now - draw(st.sampled_from([0, 100, 100, 5000, now, DAY_MS])),
                draw(quantities), draw(prices), vtt[key], draw(prices), draw(prices), draw(prices),
                draw(depths), draw(st.none() | st.tuples(*[prices] * 5)),
                draw(st.none() | st.tuples(st.sampled_from([0, now, now - DAY_MS]), prices, prices, prices)),
            )  # fmt: skip
            if draw(st.integers(0, 9)) == 0:  # a partial frame
                update = update._replace(ltp=0.0, ltt_ms=0, ltq=0)
            if draw(st.integers(0, 9)) == 0:
                update = update._replace(vtt=0)
            if draw(st.integers(0, 14)) == 0:
                update = update._replace(depth=None, greeks=None)
            if draw(st.integers(0, 19)) == 0:
                update = update._replace(**draw(impossible))
            updates.append(update)
        items.append(decode_oracle.Frame(FrameType.LIVE_FEED, now, updates, {}))
    return items


def normaliser_of(form: str) -> Normaliser:
    """A normaliser that uses the compiled form where it can, or none at all."""
    made = Normaliser()
    if form == "columns":
        made.judge_ordinary = None
    elif made.judge_ordinary is None:
        pytest.skip("the compiled form is not installed")
    return made


@pytest.mark.parametrize("form", ["compiled", "columns"])
@given(streams(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=40, deadline=None)
def test_normalise_equals_the_oracle(form: str, items: list[Item], rng: random.Random, reload: bool) -> None:
    slow, fast, rows, buffer = oracle.Normaliser(), normaliser_of(form), oracle.Rows(), RowBuffer(200)
    learn(slow, fast)
    rejected: list[tuple[int, str, Update]] = []
    pending: list[tuple[int, decode_oracle.Frame]] = []

    def flush() -> None:
        nonlocal fast
        if pending:
            seq = np.array([number for number, _ in pending])
            frames = oracle.frames_of([frame for _, frame in pending])
            buffer.extend(fast.apply(frames, seq=seq, received_us=RECEIVED_US + seq))
            rejected.extend((pending[one.frame][0], one.reason, one.update) for one in fast.rejected)
            fast.rejected.clear()
            pending.clear()
        if reload:
            gaps, judge, fast = fast.gaps, fast.judge_ordinary, Normaliser.load(fast.dump())
            fast.gaps, fast.judge_ordinary = gaps, judge

    want_rejected: list[tuple[int, str, Update]] = []
    for number, item in enumerate(items, 1):
        if isinstance(item, decode_oracle.Frame):
            slow.apply(item, seq=number, received_us=RECEIVED_US + number, out=rows)
            want_rejected.extend((number, one.reason, one.update) for one in slow.rejected)
            slow.rejected.clear()
            pending.append((number, item))
        else:
            flush()
            slow.interrupt(*item)
            fast.interrupt(*item)
        if rng.random() < 0.2:
            flush()
    flush()
    want = np.array(rows.made).reshape(-1, 28)
    np.testing.assert_array_equal(sorted_rows(buffer.values()), sorted_rows(want))
    assert fast.counts == slow.counts
    assert sorted(fast.gaps) == sorted(slow.gaps)
    assert repr(rejected) == repr(want_rejected)
    got_states, want_states = states_of(fast), oracle_states(slow)
    assert got_states.keys() == want_states.keys()
    for key, state in want_states.items():
        differing = {name for name, value in state.items() if not same(value, got_states[key][name])}
        assert not differing, (key, differing)


def check_decoded(payloads: list[bytes]) -> int:
    """Compare frames decoded together with the oracle's; return how many parsed."""
    frames = decode_all(payloads)
    good = 0
    for index, payload in enumerate(payloads):
        start, end = frames.ends[index : index + 2]
        try:
            want = decode_oracle.decode(payload)
        except DecodeError:
            # Unknown fields are skipped more leniently than protobuf does; such a frame is then read.
            assert index not in frames.errors or start == end
            continue
        assert index not in frames.errors
        good += 1
        assert (frames.type[index], frames.current_ms[index]) == want[:2]
        assert frames.segment_status.get(index, {}) == want.segment_status
        got = {update.instrument_key: update for update in (frames.updates.one(row) for row in range(start, end))}
        assert len(got) == end - start
        assert {key: repr(plain(update)) for key, update in got.items()} == {
            update.instrument_key: repr(plain(update)) for update in want.updates
        }
    return good


def plain(update: Update) -> dict[str, Any]:
    """All numbers as floats, as they are on their way into a row; -0.0 is 0."""

    def as_floats(value: Any) -> Any:
        if isinstance(value, tuple):
            return [as_floats(part) for part in value]
        return value if isinstance(value, str) or value is None else float(value) + 0.0

    return {name: as_floats(value) for name, value in update._asdict().items()}


@st.composite
def feeds(draw: st.DrawFn) -> bytes:
    """A Feed of any kind with any of its parts, perhaps several one after the other."""
    feed = vendor.Feed(requestMode=draw(st.integers(0, 3)))
    numbers = st.floats(width=32)
    kind = draw(st.sampled_from(["ltpc", "marketFF", "indexFF", "firstLevelWithGreeks", "none"]))
    if kind == "none":
        return feed.SerializeToString()
    body = (
        feed.ltpc if kind == "ltpc"
        else feed.firstLevelWithGreeks if kind == "firstLevelWithGreeks"
        else getattr(feed.fullFeed, kind)
    )  # fmt: skip
    body.SetInParent()
    if draw(st.booleans()):
        ltpc = body if kind == "ltpc" else body.ltpc
        ltpc.ltp, ltpc.ltt, ltpc.ltq, ltpc.cp = draw(numbers), draw(st.integers(0, 2**45)), 5, draw(numbers)
    if kind in {"marketFF", "indexFF"} and draw(st.booleans()):
        body.marketOHLC.SetInParent()
        for interval in draw(st.lists(st.sampled_from(["1d", "I1", "1D", "", "1dx"]), max_size=3)):
            body.marketOHLC.ohlc.add(interval=interval, open=draw(numbers), high=2, low=1, ts=draw(st.integers(0, 9)))
    if kind in {"marketFF", "firstLevelWithGreeks"}:
        body.vtt, body.oi, body.iv = draw(st.integers(-5, 2**62)), draw(numbers), draw(numbers)
        if draw(st.booleans()):
            body.optionGreeks.delta, body.optionGreeks.vega = draw(numbers), draw(st.sampled_from([0.0, 1.5]))
    if kind == "marketFF":
        body.tbq, body.tsq, body.atp = draw(numbers), draw(numbers), draw(numbers)
        for _ in range(draw(st.integers(0, 3))):
            body.marketLevel.bidAskQuote.add(bidQ=draw(st.integers(0, 2**62)), bidP=draw(numbers), askP=draw(numbers))
    if kind == "firstLevelWithGreeks" and draw(st.booleans()):
        body.firstDepth.bidP = draw(numbers)
    return feed.SerializeToString()


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    response = vendor.FeedResponse(type=draw(st.sampled_from([0, 1, 1, 1, 2])))
    response.currentTs = draw(st.sampled_from([OPEN_MS, OPEN_MS, OPEN_MS, 5]))
    if draw(st.booleans()):
        response.marketInfo.segmentStatus["NSE_EQ"] = 2
    parts = [response.SerializeToString()]
    for key in draw(st.lists(st.sampled_from([*KEYS, ""]), max_size=4)):
        entry = vendor.FeedResponse()
        for part in draw(st.lists(feeds(), min_size=1, max_size=2)):
            entry.feeds[key].MergeFromString(part)
        parts.append(entry.SerializeToString())
    return b"".join(draw(st.permutations(parts)))


@given(st.lists(payloads(), max_size=4))
@settings(max_examples=100, deadline=None)
@example([b"", vendor.FeedResponse(currentTs=OPEN_MS).SerializeToString()])
def test_decode_by_column_equals_the_oracle(given_payloads: list[bytes]) -> None:
    check_decoded(given_payloads)


def test_decode_damaged_real_frames_equals_the_oracle() -> None:
    rng = random.Random(5)
    frames = read_recording(data_file("session-20251215-open.frames.gz"))
    real = [frame.payload for frame in islice(frames, 500)]
    good = sum(check_decoded([damaged(rng.choice(real), rng) for _ in range(20)]) for _ in range(100))
    assert good > 200


def cut(recorded: int, pieces: str) -> list[int]:
    """Where the recording is cut: into a few long reads, or into short ones of any length, as a live feed has."""
    if pieces == "long":
        return [0, 1, 2, 300, 301, *range(2000, recorded, 3001), recorded]
    rng = random.Random(7)
    return [*accumulate(rng.choice([1, 1, 1, 2, 3, 8, 40]) for _ in range(recorded // 12)), recorded]


@pytest.mark.parametrize("pieces", ["long", "short"])
@pytest.mark.parametrize(
    ("frames_max", "ticks"), [(6_000, 21_100), pytest.param(None, 209_928, marks=pytest.mark.soak)]
)
def test_real_session_equals_the_oracle(frames_max: int | None, ticks: int, pieces: str) -> None:
    recorded = list(islice(read_recording(data_file("session-20251215-open.frames.gz")), frames_max))
    slow, fast, rows, out = oracle.Normaliser(), Normaliser(), oracle.Rows(), RowBuffer(210_000)
    by_column, columns = normaliser_of("columns"), RowBuffer(210_000)
    taken, judge = list[bool](), fast.judge_ordinary

    def counted(*arguments: Any) -> Any:
        found = judge(*arguments) if judge is not None else None
        taken.append(found is not None)
        return found

    fast.judge_ordinary = counted
    for start, end in pairwise(sorted({0, *cut(len(recorded), pieces)})):
        frames = decode_all([frame.payload for frame in recorded[start:end]])
        assert not frames.errors
        refs = [InstrumentRef(len(slow.states) + number, key) for number, key in enumerate(fast.unknown(frames), 1)]
        for normaliser in (fast, slow, by_column):
            normaliser.learn(refs)
        out.extend(fast.apply(frames, seq=np.arange(start, end), received_us=RECEIVED_US))
        columns.extend(by_column.apply(frames, seq=np.arange(start, end), received_us=RECEIVED_US))
        for seq, frame in enumerate(recorded[start:end], start):
            slow.apply(decode_oracle.decode(frame.payload), seq=seq, received_us=RECEIVED_US, out=rows)
    np.testing.assert_array_equal(sorted_rows(out.values()), sorted_rows(np.array(rows.made)))
    assert (fast.counts, sorted(fast.gaps), fast.rejected) == (slow.counts, sorted(slow.gaps), slow.rejected)
    assert out.rows == ticks
    np.testing.assert_array_equal(sorted_rows(columns.values()), sorted_rows(out.values()))
    for name in ("last_trades", "carried", "memory", "heard_us"):
        np.testing.assert_array_equal(getattr(by_column.states, name), getattr(fast.states, name))
    assert (by_column.official, by_column.unheard) == (fast.official, fast.unheard)
    if judge is not None and pieces == "short":
        assert sum(taken) > 0.95 * len(taken), "hardly a read has something out of the ordinary"
