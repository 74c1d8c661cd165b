"""Turn updates as sent into tick rows. Pure: state in, rows out, no clock.

Owns the meaning of the feed (DESIGN §4) except the decision between trade and quote, which is in
`trade_rules`: impossible updates, the time of a row, fields that a partial frame omits. Knows
nothing of bytes, files or databases.

Works on many updates at a time, by column (`sorted_updates`). A judgement depends on the one before,
so updates are judged one by one, unless all updates of an instrument are of the plainest kind:
connected, of the last trade's day, `ltt` and `vtt` never going back. Columns give the same result for
those; during market hours nearly all updates are plain. `compiled` does the same for a read in which nothing is
out of the ordinary, where it was built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable
from typing import Any

import numpy as np

from ingest.market.time import MINUTE_MS, day_number
from ingest.model.findings import HELD_BACK, OfficialBar, RejectedUpdate, Unheard, VolumeGap
from ingest.model.frames import Frames, Updates
from ingest.model.ticks import CARRIED, CARRIED_NAMES, NULL, TICK_COLUMN_NAMES, Floats, InstrumentRef, Integers
from ingest.normalise.instrument_states import LISTENING, NEVER, NEVER_SENT, NOWHERE, InstrumentStates, fields_of
from ingest.normalise.official_bars import newer_rows, take_bars
from ingest.normalise.rejection import impossible, refused
from ingest.normalise.sorted_updates import SortedUpdates, all_plain, fill_down, says_something, sort
from ingest.normalise.standby import Standby
from ingest.normalise.trade_rules import LastTrade

try:
    from ingest.normalise.compiled import judge
except ImportError:  # installed without a compiler
    judge = None  # type: ignore[assignment]

_TS, _ID, _SEQ, _TRADED, _LTP, _LTQ, _LTT, _VTT, _VOLUME = range(TICK_COLUMN_NAMES.index("oi"))
_RECEIVED_AT = TICK_COLUMN_NAMES.index("received_at")
_JUDGED = slice(_TRADED, _VOLUME + 1)


def _span(first: str, last: str) -> slice:
    return slice(CARRIED_NAMES.index(first), CARRIED_NAMES.index(last) + 1)


# Groups of carried columns that are sent together.
_OI, _ATP, _IV, _PREV_CLOSE = (_span(name, name) for name in ("oi", "atp", "iv", "prev_close"))
_DEPTH, _GREEKS, _DAY_CANDLE = _span("tbq", "ask_qty"), _span("delta", "rho"), _span("day_open", "day_low")


class Normaliser:
    """State of one journal stream, and the rules that turn its updates into rows."""

    def __init__(self) -> None:
        self.states = InstrumentStates()
        self.standby = Standby()
        self.book: Floats = np.empty((0, 0))  # of the rows that `apply` returned, as `Updates.book`
        self.duplicates = 0  # updates that the other connection had already brought
        self.counts: Counter[str] = Counter()
        self.gaps: list[VolumeGap] = []
        self.unheard: list[Unheard] = []
        self.official: list[OfficialBar] = []
        self.rejected: list[RejectedUpdate] = []
        self.judge_ordinary: Callable[..., tuple[Any, ...] | None] | None = judge  # None: always by column

    def unknown(self, frames: Frames) -> list[str]:
        """Return the keys not yet introduced by `learn`, each once, sorted."""
        return self.states.unknown(frames.updates.keys)

    def learn(self, instruments: Iterable[InstrumentRef]) -> None:
        """Introduce instruments; known ones keep their state."""
        self.states.learn(instruments)

    def interrupt(self, keys: Iterable[str] | None = None, *, at_ms: int = NEVER) -> None:
        """Note that listening was interrupted, for some keys or for all: their next update is a snapshot."""
        self.states.interrupt(keys, at_ms=at_ms)

    def stop(self, keys: Iterable[str] | None = None, *, at_ms: int) -> None:
        """Note that we stopped listening on purpose: the minute is partial, and what follows is not a gap."""
        self.unheard += [
            Unheard(instrument_id, at_ms, at_ms, False) for instrument_id in self.states.interrupt(keys).tolist()
        ]

    def forget_findings(self) -> None:
        """Drop the findings: they have been taken, or are already in the database."""
        for findings in (self.gaps, self.rejected, self.unheard, self.official):
            findings.clear()
        self.duplicates = 0

    def apply(
        self,
        frames: Frames,
        *,
        seq: Integers | int,
        received_us: Integers | int,
        sockets: Integers | int = 0,
        held: Container[str] = (),
    ) -> Floats:
        """Judge the updates of frames and return their rows.

        Parameters
        ----------
        frames
            Decoded frames, in order of arrival; all their keys are known, except those held back.
        seq
            Number of each frame's journal record; becomes `ticks.seq`.
        received_us
            Our clock at each frame's receipt, epoch microseconds.
        sockets
            Connection that brought each frame.
        held
            Keys that are held back (`pipeline.naming`): their updates are rejected.

        Returns
        -------
        Floats
            Shape (rows, 28), one value for each of `TICK_COLUMNS`, NaN for NULL; grouped by instrument, each
            instrument in order of arrival. One row per update with content. Impossible updates go to `rejected`,
            updates without content are counted as `empty`, repetitions by the other connection as duplicates.
        """
        if not self.standby.run and (rows := self._apply_ordinary(frames, seq, received_us)) is not None:
            return rows
        updates = frames.updates
        ends = frames.ends
        frame = np.arange(len(frames)).repeat(ends[1:] - ends[:-1])
        current_ms = frames.current_ms[frame]
        places = self.states.places(updates.keys)
        order = places.argsort(kind="stable")
        if wrong := impossible(updates, current_ms):
            self.rejected += refused(wrong, updates, frame, self._ids(places))
            order = order[~np.isin(order, list(wrong))]
        said = says_something(updates)[order]
        if not said.all():
            self.counts["empty"] += int((~said).sum())
            order = order[said]
        if len(order) and places[order[0]] == NOWHERE:
            strangers = order[places[order] == NOWHERE]
            unknown = {updates.keys[index] for index in strangers.tolist()}
            assert all(key in held for key in unknown), "keys are introduced before their updates are judged"
            self.rejected += refused(dict.fromkeys(strangers.tolist(), HELD_BACK), updates, frame, self._ids(places))
            order = order[len(strangers) :]
        if self.standby.run:
            order = self._only_news(
                updates, order, places=places, frame=frame, frames=frames, sockets=sockets, received_us=received_us
            )
        self.book = updates.book[:0]
        if not len(order):
            return np.empty((0, len(TICK_COLUMN_NAMES)))
        frame = frame[order]
        current_ms = current_ms[order]
        given = sort(updates, order, places[order], self.states, day_number(current_ms))
        self.book = updates.book[given.order]
        rows = np.empty((len(order), len(TICK_COLUMN_NAMES)))
        self._find_unheard(given, current_ms)
        self._judge(given, rows)
        self._carry(updates, given, rows[:, CARRIED])
        rows[:, _LTT] *= 1000.0
        rows[:, _TS] = np.where(rows[:, _TRADED] != 0.0, rows[:, _LTT], current_ms * 1000.0)
        rows[:, _ID] = given.before["instrument_id"].repeat(given.sizes)
        if (is_index := given.before["is_index"]).any():
            rows[is_index.repeat(given.sizes), _LTQ] = NULL
        rows[:, _SEQ] = seq[frame] if isinstance(seq, np.ndarray) else seq
        rows[:, _RECEIVED_AT] = received_us[frame] if isinstance(received_us, np.ndarray) else received_us
        self._take_official(
            frames,
            order=given.order,
            owners=given.owners,
            starts=given.starts,
            sizes=given.sizes,
            current_ms=current_ms,
            received_us=rows[:, _RECEIVED_AT],
        )
        last = given.starts + given.sizes - 1
        self.states.memory["day"][given.owners] = given.today[last]
        if not self.standby.run:
            self.states.heard_us[given.owners, 0] = rows[last, _RECEIVED_AT].astype(np.int64)
        return rows

    def _apply_ordinary(self, frames: Frames, seq: Integers | int, received_us: Integers | int) -> Floats | None:
        """Return the rows as `apply` does if all updates are ordinary; otherwise None, and nothing has changed."""
        updates = frames.updates
        if not len(updates):
            self.book = updates.book
            return np.empty((0, len(TICK_COLUMN_NAMES)))
        if self.judge_ordinary is None:
            return None
        of_each = (
            number if isinstance(number, np.ndarray) else np.full(len(frames), number) for number in (seq, received_us)
        )
        found = self.judge_ordinary(updates, frames.ends, frames.current_ms, *of_each, self.states)
        if found is None:
            return None
        rows, order, frame, owners, starts, sizes, has_news, alone = found
        self.book = updates.book[order] if updates.book.size else updates.book
        if alone:
            self._judge_alone(alone, rows)
        if has_news:
            self._take_official(
                frames,
                order=order,
                owners=owners,
                starts=starts,
                sizes=sizes,
                current_ms=frames.current_ms[frame],
                received_us=rows[:, _RECEIVED_AT],
            )
        made: Floats = rows
        return made

    def _judge_alone(self, alone: list[tuple[Any, ...]], rows: Floats) -> None:
        """Judge the updates that `compiled.judge` hands back, and fill the columns ts to volume of their rows."""
        last_trades = self.states.last_trades
        known = {place: LastTrade(*last_trades[place].tolist()) for place in dict.fromkeys(one[0] for one in alone)}
        at = np.array([one[1] for one in alone])
        rows[at, _JUDGED] = self._judge_each([known[one[0]] for one in alone], [one[2:] for one in alone])
        rows[at, _LTT] *= 1000.0
        traded = at[rows[at, _TRADED] != 0.0]
        rows[traded, _TS] = rows[traded, _LTT]
        rows[[one[1] for one in alone if known[one[0]].is_index], _LTQ] = NULL
        for place, last_trade in known.items():
            last_trades[place] = fields_of(last_trade)

    def _ids(self, places: Integers) -> Integers:
        """Return the instrument id of each row of the states, `NOWHERE` where there is none."""
        if not len(self.states.last_trades):
            return places
        return np.where(places == NOWHERE, NOWHERE, self.states.last_trades["instrument_id"][places])

    def _only_news(
        self,
        updates: Updates,
        order: Integers,
        *,
        places: Integers,
        frame: Integers,
        frames: Frames,
        sockets: Integers | int,
        received_us: Integers | int,
    ) -> Integers:
        """Drop updates that the other connection has already brought; note which socket heard each instrument."""
        at, count = frame[order], len(frames)
        socket = np.broadcast_to(sockets, count)[at]
        self.states.heard_us[places[order], socket] = np.broadcast_to(received_us, count)[at]
        others_ms = self.standby.reach(frames.current_ms, np.broadcast_to(sockets, count))[at]
        news = self.standby.news(
            updates, order, places=places[order], sockets=socket, current_ms=frames.current_ms[at], others_ms=others_ms
        )
        self.duplicates += int((~news).sum())
        return order[news]

    def _judge(self, given: SortedUpdates, rows: Floats) -> None:
        """Fill the columns traded to volume and move the last trades."""
        after = given.before.copy()
        for name in ("mode", "ltp", "ltt_ms", "ltq", "vtt"):
            after[name] = getattr(given, name)[given.starts + given.sizes - 1]
        after["lows"] = 0
        rows[:, _LTP], rows[:, _LTQ], rows[:, _LTT], rows[:, _VTT] = given.ltp, given.ltq, given.ltt_ms, given.vtt
        rows[:, _VOLUME] = given.vtt - given.above("vtt")
        rows[:, _TRADED] = rows[:, _VOLUME] > 0
        alone = ~all_plain(given)
        if alone.any():
            places = alone.repeat(given.sizes).nonzero()[0]
            last_trades = [LastTrade(*fields) for fields in given.before[alone].tolist()]
            owners = [
                last_trade
                for last_trade, size in zip(last_trades, given.sizes[alone].tolist(), strict=True)
                for _ in range(size)
            ]
            columns = (
                given.mode[places], given.new_mode[places], given.has_trade[places], given.ltp[places],
                given.ltt_ms[places], given.ltq[places], given.vtt[places], given.today[places],
            )  # fmt: skip
            updates = zip(*(column.tolist() for column in columns), strict=True)
            rows[places, _JUDGED] = self._judge_each(owners, updates)
            after[alone] = [fields_of(last_trade) for last_trade in last_trades]
        self.states.last_trades[given.owners] = after

    def _judge_each(self, last_trades: list[LastTrade], updates: Iterable[tuple[Any, ...]]) -> list[tuple[float, ...]]:
        """Judge updates one by one; return their columns traded to volume.

        Parameters
        ----------
        last_trades
            For each update, the state of its instrument, which it moves.
        updates
            mode, whether it is new, whether there is a last trade, ltp, ltt_ms, ltq, vtt and the IST day number.
        """
        judged: list[tuple[float, ...]] = []
        for last_trade, update in zip(last_trades, updates, strict=True):
            mode, new_mode, has_trade, ltp, ltt_ms, ltq, vtt, today = update
            if new_mode:  # its first update in this mode is a snapshot
                last_trade.mode, last_trade.connected = mode, False
            if not has_trade:  # a partial frame without ltpc: the known last trade still holds
                last_trade.confirm(vtt)
                known = (last_trade.ltp, last_trade.ltq, last_trade.ltt_ms, last_trade.vtt_on(today))
                judged.append((False, *known, 0.0))
                continue
            found = last_trade.judge(ltp, ltt_ms, vtt, today)
            last_trade.ltp, last_trade.ltq = ltp, ltq
            judged.append((found.traded, ltp, ltq, ltt_ms, found.vtt, found.volume))
            self.counts["backward"] += found.backward
            self.counts["resets"] += found.reset
            if found.gap_volume:
                self.gaps.append(
                    VolumeGap(last_trade.instrument_id, found.gap_from_ms, ltt_ms, found.gap_volume, found.began)
                )
        return judged

    def _find_unheard(self, given: SortedUpdates, current_ms: Integers) -> None:
        """Record the period without data for instruments that are heard again, or for the first time."""
        lost_ms = self.states.memory["lost_ms"][given.owners]
        if (lost_ms == LISTENING).all():
            return
        for at in np.flatnonzero(lost_ms != LISTENING).tolist():
            lost, heard = int(lost_ms[at]), int(current_ms[given.starts[at]])
            id_ = int(given.before["instrument_id"][at])
            self.unheard.append(Unheard(id_, min(lost or heard, heard), heard, lost != NEVER))
        self.states.memory["lost_ms"][given.owners] = LISTENING

    def _take_official(
        self,
        frames: Frames,
        *,
        order: Integers,
        owners: Integers,
        starts: Integers,
        sizes: Integers,
        current_ms: Integers,
        received_us: Floats,
    ) -> None:
        """Take the official bars that these updates bring for the first time; parameters as in `SortedUpdates`."""
        candle, minute_ms = frames.updates.minute_row[order], frames.updates.minute_ms[order]
        newest_ms = self.states.memory["official_ms"][owners]
        rows = newer_rows(frames.candles, candle, minute_ms, newest_ms=newest_ms, starts=starts, sizes=sizes)
        if not len(rows):
            return
        rows = rows[np.argsort(order[rows])]  # in order of arrival
        of_row = owners[np.searchsorted(starts, rows, side="right") - 1]
        found = take_bars(
            frames.candles,
            candle[rows],
            bucket_ms=minute_ms[rows],
            current_ms=current_ms[rows],
            owner=of_row,
            instrument_id=self.states.last_trades["instrument_id"][of_row],
            is_index=self.states.last_trades["is_index"][of_row],
            received_us=received_us[rows].astype(np.int64),
            memory=self.states.memory,
        )
        self.official += found.bars
        self.unheard += [Unheard(id_, bucket - MINUTE_MS, bucket, False) for id_, bucket in found.fillers]
        if found.odd:
            self.counts["odd_candles"] += found.odd

    def _carry(self, updates: Updates, given: SortedUpdates, carried: Floats) -> None:
        """Fill the columns that a frame may omit: a field not sent keeps its last value."""
        order, states = given.order, self.states
        carried[:] = updates.carried[order]
        is_today = day_number(updates.day_start_ms[order]) == given.today
        new_mode, new_figures = given.new_mode, given.new_mode | given.new_day
        groups = (
            (_OI, carried[:, _OI.start] != 0, new_mode),
            (_ATP, carried[:, _ATP.start] != 0, new_figures),
            (_IV, carried[:, _IV.start] != 0, new_mode),
            (_DEPTH, updates.has_depth[order], new_mode),
            (_GREEKS, updates.has_greeks[order], new_mode),
            (_DAY_CANDLE, updates.has_day_candle[order] & is_today, new_figures),
            (_PREV_CLOSE, carried[:, _PREV_CLOSE.start] != 0, np.zeros_like(new_mode)),
        )
        for columns, sent, forgotten in groups:
            if not sent.all():
                fill_down(
                    carried[:, columns],
                    sent,
                    forgotten,
                    never_sent=NEVER_SENT[columns],
                    starts=given.starts,
                    before=states.carried[given.owners, columns],
                )
        states.carried[given.owners] = carried[given.starts + given.sizes - 1]

    def dump(self) -> bytes:
        """Serialise the state, for the checkpoint written with the rows."""
        return self.states.dump(self.counts, self.standby.dump())

    @classmethod
    def load(cls, dumped: bytes) -> Normaliser:
        """Rebuild the state that `dump` wrote."""
        normaliser = cls()
        normaliser.states, counts, standby = InstrumentStates.load(dumped)
        normaliser.standby = Standby.load(standby) if standby else Standby()
        normaliser.counts.update(counts)
        return normaliser
