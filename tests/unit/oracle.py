"""Oracle of normalising: the rules, update by update. Slow, plain, and what the columns must equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ingest.market.time import DAY_MS, IST_OFFSET_MS, MINUTE_MS
from ingest.model.findings import VolumeGap
from ingest.model.frames import Candles, Depth, Frames, Greeks, Mode, Update, Updates
from ingest.model.ticks import CARRIED_NAMES, NULL, InstrumentRef
from ingest.normalise.rejection import LTT_AHEAD_MS_MAX, PRICE_MAX, QUANTITY_MAX
from tests.unit.decode_oracle import Frame

NEVER = -1  # the day of a reference that there is not
NO_DEPTH: Depth = (NULL, NULL, NULL, NULL, NULL, NULL)  # type: ignore[assignment]
NO_GREEKS: Greeks = (NULL, NULL, NULL, NULL, NULL)
NO_DAY = (NULL, NULL, NULL)


class Rows:
    """Rows as they are made."""

    def __init__(self) -> None:
        self.made: list[tuple[float, ...]] = []

    def append(self, *row: float) -> None:
        """Add one row: a value for each column of `ticks`, NaN for NULL."""
        self.made.append(row)


class RejectedUpdate(NamedTuple):
    """An update that says something impossible; it makes no row."""

    instrument_key: str
    reason: str
    update: Update


@dataclass(slots=True)
class InstrumentState:
    """What must be remembered of one instrument between frames."""

    instrument_id: int
    is_index: bool
    mode: int = -1
    day: int = -1  # IST day number of the reference, -1 before the first update
    ltt_ms: int = 0
    vtt: int = 0
    ltp: float = 0.0
    ltq: int = 0
    connected: bool = False  # an update has shown the reference since the connection was made
    lows: list[tuple[int, int]] = field(default_factory=list)  # (ltt, vtt) of updates that may become a reset
    first_low: int = 0
    seen_day: int = 0  # IST day number of the last update
    prev_close: float = 0.0
    oi: float = 0.0
    atp: float = 0.0
    iv: float = 0.0
    depth: Depth = NO_DEPTH
    greeks: Greeks = NO_GREEKS
    day_candle: tuple[float, float, float] = NO_DAY


@dataclass(slots=True)
class Normaliser:
    """The state of one journal stream, and the rules that turn its frames into rows."""

    states: dict[str, InstrumentState] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    gaps: list[VolumeGap] = field(default_factory=list)
    rejected: list[RejectedUpdate] = field(default_factory=list)

    def unknown(self, frame: Frame) -> list[str]:
        """Keys of a frame that have not been introduced by `learn`."""
        states = self.states
        return [update.instrument_key for update in frame.updates if update.instrument_key not in states]

    def learn(self, instruments: Iterable[InstrumentRef]) -> None:
        """Introduce instruments; those already known keep their state."""
        for ref in instruments:
            if ref.instrument_key not in self.states:
                segment = ref.instrument_key.partition("|")[0]
                self.states[ref.instrument_key] = InstrumentState(ref.instrument_id, segment.endswith("_INDEX"))

    def interrupt(self, keys: Iterable[str] | None = None) -> None:
        """Note that we stopped listening, to some keys or to all: their next update is a snapshot."""
        for key in self.states if keys is None else keys:
            if state := self.states.get(key):
                state.connected = False

    def apply(self, frame: Frame, *, seq: int, received_us: int, out: Rows) -> None:
        """Judge each update of a frame and append its row.

        Parameters
        ----------
        frame
            A decoded frame whose keys are all known.
        seq
            Number of the journal record; becomes `ticks.seq`.
        received_us
            Our clock at receipt, epoch microseconds.
        out
            Where rows go. One row for each update that says anything; what says something
            impossible goes to `rejected`, what says nothing is counted as `empty`.
        """
        current_ms = frame.current_ms
        today = (current_ms + IST_OFFSET_MS) // DAY_MS
        append = out.append
        for update in frame.updates:
            (key, mode, ltp, ltt_ms, ltq, prev_close, vtt, oi, atp, iv, depth, greeks, day_candle) = update
            if reason := _impossible(update, current_ms):
                self.rejected.append(RejectedUpdate(key, reason, update))
                continue
            state = self.states[key]
            if not (ltt_ms or ltp or vtt or depth is not None or greeks is not None):
                self.counts["empty"] += 1
                continue
            _begin(state, mode, today)
            if ltt_ms or ltp:
                traded, volume, vtt_out = self._judge(state, update, today)
                state.ltp, state.ltq = ltp, ltq
            else:  # a partial frame without ltpc: the last trade is the one we know
                confirm(state, vtt)
                ltp, ltt_ms, ltq = state.ltp, state.ltt_ms, state.ltq
                traded, volume, vtt_out = False, 0.0, known_vtt(state, today)
            # Groups that were not sent keep their last value.
            if depth is None:
                depth = state.depth
            else:
                state.depth = depth
            if greeks is None:
                greeks = state.greeks
            else:
                state.greeks = greeks
            if day_candle is not None and (day_candle[0] + IST_OFFSET_MS) // DAY_MS == today:
                state.day_candle = day_candle[1:]
            state.oi = oi = oi or state.oi
            state.atp = atp = atp or state.atp
            state.iv = iv = iv or state.iv
            state.prev_close = prev_close = prev_close or state.prev_close
            append(
                (ltt_ms if traded else current_ms) * 1000.0, state.instrument_id, seq, traded,
                ltp, NULL if state.is_index else ltq, ltt_ms * 1000.0, vtt_out, volume,
                oi, atp, depth[4], depth[5], depth[0], depth[1], depth[2], depth[3], iv,
                *greeks, *state.day_candle, prev_close, received_us,
            )  # fmt: skip

    def _judge(self, state: InstrumentState, update: Update, today: int) -> tuple[bool, float, float]:
        """Trade or quote: return `(traded, volume, vtt)` and move the reference."""
        ltt_ms, vtt, day = update.ltt_ms, update.vtt, day_of(update.ltt_ms)
        if state.is_index or state.mode == Mode.LTPC:
            return self._judge_by_price(state, update, today)
        if not ltt_ms:  # nobody knows when
            confirm(state, vtt)
            return False, 0.0, known_vtt(state, today)
        listened = state.connected and state.day != NEVER
        if day < today and not listened and not (vtt and day <= state.day):  # today begins with nothing
            show(state, today, ltt_ms, 0)
            return False, 0.0, NULL
        if not vtt:
            return False, 0.0, known_vtt(state, today)
        vtt_of_today = vtt if day == today else NULL
        if (day, ltt_ms) < (state.day, state.ltt_ms):
            self.counts["backward"] += state.vtt > 0
            state.connected |= state.vtt == 0
            return False, 0.0, vtt_of_today
        if day > state.day:
            if not listened:
                self.gaps.append(VolumeGap(state.instrument_id, midnight_ms(day), ltt_ms, vtt, began=True))
                show(state, day, ltt_ms, vtt)
                return False, NULL, vtt
            state.day, state.ltt_ms, state.vtt = day, 0, 0
        if vtt < state.vtt:
            return self._judge_low(state, ltt_ms, vtt, vtt_of_today)
        step, since_ms = vtt - state.vtt, state.ltt_ms
        show(state, day, ltt_ms, vtt)
        if step == 0:
            return False, 0.0, vtt_of_today
        if listened or ltt_ms // MINUTE_MS == since_ms // MINUTE_MS:
            return True, step, vtt
        if day == today:
            self.gaps.append(VolumeGap(state.instrument_id, max(since_ms, midnight_ms(day)), ltt_ms, step))
        else:  # that day is not known whole
            show(state, today, ltt_ms, 0)
        return False, NULL, vtt_of_today

    def _judge_low(
        self, state: InstrumentState, ltt_ms: int, vtt: int, vtt_of_today: float
    ) -> tuple[bool, float, float]:
        """A count below the day's largest: of three that go on, the third is a reset and carries what they traded."""
        if state.lows and ltt_ms == state.lows[-1][0] and vtt >= state.lows[-1][1]:
            state.lows[-1] = (ltt_ms, vtt)  # the same moment again
        elif state.lows and ltt_ms > state.lows[-1][0] and vtt >= state.lows[-1][1]:
            state.lows.append((ltt_ms, vtt))
        else:
            state.lows, state.first_low = [(ltt_ms, vtt)], vtt
        if len(state.lows) < 3:
            self.counts["backward"] += 1
            return False, 0.0, vtt_of_today
        self.counts["resets"] += 1
        volume = vtt - state.first_low
        show(state, state.day, ltt_ms, vtt)
        return (True, volume, vtt) if volume else (False, 0.0, vtt_of_today)

    def _judge_by_price(self, state: InstrumentState, update: Update, today: int) -> tuple[bool, float, float]:
        """Judge an instrument whose volume is not sent."""
        ltt_ms, day = update.ltt_ms, day_of(update.ltt_ms)
        if not ltt_ms:
            return False, NULL, NULL
        if ltt_ms < state.ltt_ms:
            self.counts["backward"] += 1
            return False, NULL, NULL
        is_new = ltt_ms > state.ltt_ms or (day == today and update.ltp != state.ltp)
        traded = is_new and state.connected and state.day != NEVER
        show(state, day, ltt_ms, state.vtt if day == state.day else 0)
        return traded, NULL, NULL


def day_of(ms: int) -> int:
    """The IST day number of a time."""
    return (ms + IST_OFFSET_MS) // DAY_MS


def midnight_ms(day: int) -> int:
    """When an IST day begins."""
    return day * DAY_MS - IST_OFFSET_MS


def show(state: InstrumentState, day: int, ltt_ms: int, vtt: int) -> None:
    """Take what an update shows as the state of its day."""
    state.day, state.ltt_ms, state.vtt, state.connected, state.lows = day, ltt_ms, vtt, True, []


def confirm(state: InstrumentState, vtt: int) -> None:
    """The same count as before: the last trade is still the last one."""
    if vtt and vtt == state.vtt:
        state.connected, state.lows = True, []


def known_vtt(state: InstrumentState, today: int) -> float:
    """Today's count as last known; NULL if there is none."""
    return state.vtt if state.vtt and state.day == today else NULL


def _impossible(update: Update, current_ms: int) -> str | None:
    """Why an update cannot be true, or None. NaN fails every comparison, so it is caught here."""
    if not 0.0 <= update.ltp < PRICE_MAX:
        return f"impossible ltp {update.ltp!r}"
    if not 0 <= update.vtt < QUANTITY_MAX:
        return f"impossible vtt {update.vtt!r}"
    if not 0 <= update.ltq < QUANTITY_MAX:
        return f"impossible ltq {update.ltq!r}"
    if not 0.0 <= update.oi < QUANTITY_MAX:
        return f"impossible oi {update.oi!r}"
    if not 0 <= update.ltt_ms <= current_ms + LTT_AHEAD_MS_MAX:
        return f"impossible ltt {update.ltt_ms!r}"
    prices = {"atp": update.atp, "prev_close": update.prev_close}
    quantities: dict[str, float] = {}
    if update.depth is not None:
        prices["bid"], quantities["bid_qty"], prices["ask"], quantities["ask_qty"], *totals = update.depth
        quantities["tbq"], quantities["tsq"] = totals
    days = {}
    if update.day_candle is not None:
        days = dict(zip(("day_open", "day_high", "day_low"), update.day_candle[1:], strict=True))
    limits = [(PRICE_MAX, prices), (QUANTITY_MAX, quantities), (PRICE_MAX, days)]
    for limit, values in limits:
        for name, value in values.items():
            if value < 0 or value >= limit:
                return f"impossible {name} {float(value)!r}"
    return None


def _begin(state: InstrumentState, mode: int, today: int) -> None:
    """Forget what a new day, or a new mode, does not carry; the first update of a mode is a snapshot."""
    if today != state.seen_day:
        state.seen_day, state.day_candle, state.atp = today, NO_DAY, 0.0
    if mode == state.mode:
        return
    state.mode = mode
    state.connected = False
    state.oi = state.atp = state.iv = 0.0
    state.depth, state.greeks, state.day_candle = NO_DEPTH, NO_GREEKS, NO_DAY


def frames_of(given: Sequence[Frame]) -> Frames:
    """Bring frames into the columns that `decode_all` makes of them."""
    updates = [update for frame in given for update in frame.updates]
    nothing = (NULL,) * 6

    def carried(update: Update) -> tuple[float, ...]:
        bid, bid_qty, ask, ask_qty, tbq, tsq = update.depth or nothing
        return (
            update.oi, update.atp, tbq, tsq, bid, bid_qty, ask, ask_qty, update.iv,
            *(update.greeks or nothing[:5]), *(update.day_candle or nothing)[1:4], update.prev_close,
        )  # fmt: skip

    return Frames(
        type=np.array([frame.type for frame in given], np.int64),
        current_ms=np.array([frame.current_ms for frame in given], np.int64),
        ends=np.cumsum([0, *(len(frame.updates) for frame in given)]),
        updates=Updates(
            keys=[update.instrument_key for update in updates],
            mode=np.array([update.mode for update in updates], np.int64),
            ltp=np.array([update.ltp for update in updates], np.float64),
            ltt_ms=np.array([update.ltt_ms for update in updates], np.int64),
            ltq=np.array([update.ltq for update in updates], np.int64),
            vtt=np.array([update.vtt for update in updates], np.int64),
            has_depth=np.array([update.depth is not None for update in updates], np.bool_),
            has_greeks=np.array([update.greeks is not None for update in updates], np.bool_),
            has_day_candle=np.array([update.day_candle is not None for update in updates], np.bool_),
            day_start_ms=np.array([(update.day_candle or (0,))[0] for update in updates], np.int64),
            minute_ms=np.zeros(len(updates), np.int64),
            minute_row=np.zeros(len(updates), np.int64),
            carried=np.array([carried(update) for update in updates], np.float64).reshape(-1, len(CARRIED_NAMES)),
            book=np.zeros((len(updates), 0)),
        ),
        errors={},
        segment_status={},
        candles=Candles(*[np.zeros(0)] * 5),
    )
