"""Normalise: updates as sent become tick rows. Pure: state in, rows out, no clock.

Owns the meaning of the feed (DESIGN §4): what a trade is, what volume it carried, which time
it has, what a partial frame leaves unsaid. Knows nothing of bytes, files or databases.

The reference of an instrument is the last state that counted: its day, `ltt` and `vtt`. An
update is judged against it:

    update                                  row                       reference
    --------------------------------------  ------------------------  ---------
    first ever, trades of today in it       snapshot, volume unknown  set
    last trade on an earlier day, or none   quote                     day opens with vtt 0
    vtt up, ltt not back                    trade, volume = step      moved
    vtt same                                quote                     moved
    ltt back                                quote, counted            kept
    vtt down, ltt not back                  quote, counted            moved (a correction)
    after a break, vtt up, same minute      trade, volume = step      moved
    after a break, vtt up, later minute     quote, step is the gap's  moved

An index, and every instrument in mode ltpc, has no `vtt`: there a trade is a change of `ltt` or
`ltp`, and its volume is NULL.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ingest.batch import NULL, RowBuffer
from ingest.model import Depth, Frame, Greeks, InstrumentRef, Mode, Update

DAY_MS = 86_400_000
MINUTE_MS = 60_000
IST_OFFSET_MS = 19_800_000  # India has one zone, UTC+05:30, and no summer time
# Exchange and feed clocks differ by milliseconds; a last trade a minute ahead is not a time.
LTT_AHEAD_MS_MAX = 60_000
PRICE_MAX = 1e9  # rupees; the dearest Indian share is near 1.5e5, indices near 1e5
QUANTITY_MAX = 2**53  # above it a float64 skips whole numbers

_NO_DEPTH: Depth = (NULL, NULL, NULL, NULL, NULL, NULL)  # type: ignore[assignment]
_NO_GREEKS: Greeks = (NULL, NULL, NULL, NULL, NULL)
_NO_DAY = (NULL, NULL, NULL)


class RejectedUpdate(NamedTuple):
    """An update that says something impossible; it makes no row."""

    instrument_key: str
    reason: str
    update: Update


class VolumeGap(NamedTuple):
    """Volume traded while we were not listening, known by its total only."""

    instrument_id: int
    started_ms: int  # last trade before the break, epoch ms
    ended_ms: int  # last trade in the snapshot after it, epoch ms
    volume: int


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
    connected: bool = False  # an update has come since the connection was made
    prev_close: float = 0.0
    oi: float = 0.0
    atp: float = 0.0
    iv: float = 0.0
    depth: Depth = _NO_DEPTH
    greeks: Greeks = _NO_GREEKS
    day_candle: tuple[float, float, float] = _NO_DAY


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

    def apply(self, frame: Frame, *, seq: int, received_us: int, out: RowBuffer) -> None:
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
            if mode != state.mode:
                _change_mode(state, mode)
            if ltt_ms or ltp:
                traded, volume, vtt_out = self._judge(state, update, today)
                state.ltp, state.ltq = ltp, ltq
            elif depth is None and greeks is None and not vtt:
                self.counts["empty"] += 1
                continue
            else:  # a partial frame without ltpc: the last trade is the one we know
                ltp, ltt_ms, ltq = state.ltp, state.ltt_ms, state.ltq
                traded, volume, vtt_out = False, 0.0, state.vtt or NULL
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
        ltt_ms, vtt = update.ltt_ms, update.vtt
        day = (ltt_ms + IST_OFFSET_MS) // DAY_MS if ltt_ms else -1
        first_ever = state.day < 0
        if day != today and not (state.day == today and state.ltt_ms):
            # Nothing has traded today: the day opens with nothing, and vtt is an older day's.
            _open_day(state, today)
            state.connected = True
            return False, NULL if state.is_index else 0.0, NULL
        if state.is_index or state.mode == Mode.LTPC:
            return self._judge_by_price(state, update, today, first_ever)
        was_connected, state.connected = state.connected, True
        if not vtt:  # not sent
            return False, 0.0, state.vtt or NULL
        if state.day != today:
            _open_day(state, today)
            if not was_connected:  # we began after today's first trade
                state.ltt_ms, state.vtt = ltt_ms, vtt
                return False, NULL, vtt
        if ltt_ms < state.ltt_ms:
            self.counts["backward"] += 1
            return False, 0.0, vtt
        step = vtt - state.vtt
        same_minute = ltt_ms // MINUTE_MS == state.ltt_ms // MINUTE_MS
        started_ms, state.ltt_ms, state.vtt = state.ltt_ms, ltt_ms, vtt
        if step < 0:
            self.counts["backward"] += 1
            return False, 0.0, vtt
        if step == 0:
            return False, 0.0, vtt
        if was_connected or same_minute:
            return True, step, vtt
        self.gaps.append(VolumeGap(state.instrument_id, started_ms, ltt_ms, step))
        return False, NULL, vtt

    def _judge_by_price(
        self, state: InstrumentState, update: Update, today: int, first_ever: bool
    ) -> tuple[bool, float, float]:
        """Judge an instrument whose volume is not sent."""
        was_connected, state.connected = state.connected and not first_ever, True
        ltt_ms = update.ltt_ms
        if state.day == today and ltt_ms < state.ltt_ms:
            self.counts["backward"] += 1
            return False, NULL, NULL
        changed = ltt_ms != state.ltt_ms or update.ltp != state.ltp
        if state.day != today:
            _open_day(state, today)
        state.ltt_ms = ltt_ms
        return was_connected and changed, NULL, NULL

    def dump(self) -> bytes:
        """Serialise the state, for the checkpoint that is written beside the rows."""
        fields = InstrumentState.__slots__
        rows = {key: [getattr(state, name) for name in fields] for key, state in self.states.items()}
        return json.dumps({"fields": fields, "states": rows, "counts": self.counts}).encode()

    @classmethod
    def load(cls, dumped: bytes) -> Normaliser:
        """Rebuild the state that `dump` wrote."""
        document: dict[str, Any] = json.loads(dumped)
        normaliser = cls(counts=Counter(document["counts"]))
        for key, row in document["states"].items():
            values = dict(zip(document["fields"], row, strict=True))
            for name in ("depth", "greeks", "day_candle"):
                values[name] = tuple(values[name])
            normaliser.states[key] = InstrumentState(**values)
        return normaliser


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
    return None


def _open_day(state: InstrumentState, today: int) -> None:
    """Begin a day: its volume counts from 0 and the day's figures are new."""
    state.day, state.ltt_ms, state.vtt = today, 0, 0
    state.day_candle, state.atp = _NO_DAY, 0.0


def _change_mode(state: InstrumentState, mode: int) -> None:
    """Forget what the new mode does not carry; its first update is a snapshot."""
    state.mode = mode
    state.connected = False
    state.oi = state.atp = state.iv = 0.0
    state.depth, state.greeks, state.day_candle = _NO_DEPTH, _NO_GREEKS, _NO_DAY
