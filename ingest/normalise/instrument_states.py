"""Memory of every instrument between batches, as arrays. Pure.

Owns the shape of this memory and its form in a checkpoint. `trade_rules` and `normaliser` define
what the values mean.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from itertools import compress, repeat
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.market.time import day_number
from ingest.model.keys import is_key
from ingest.model.records import SOCKETS
from ingest.model.ticks import CARRIED, CARRIED_NAMES, NULL, TICK_COLUMN_NAMES, Floats, InstrumentRef, Integers
from ingest.normalise.trade_rules import LastTrade

# `LastTrade` as an array row, fields in the same order.
LAST_TRADE = np.dtype(
    [
        ("instrument_id", "<i4"), ("is_index", "?"), ("mode", "<i8"), ("day", "<i8"), ("ltt_ms", "<i8"),
        ("vtt", "<i8"), ("ltp", "<f8"), ("ltq", "<i8"), ("connected", "?"),
        ("lows", "<i8"), ("low_from", "<i8"), ("low_vtt", "<i8"), ("low_ltt_ms", "<i8"),
    ]
)  # fmt: skip
# Further memory of an instrument: the minutes of the newest official bar and filler, and how usual bars are (see
# `official_bars`); when we stopped listening (epoch ms); the IST day number of the last update, and of the day for
# which the database said what the key means (0: unknown, it must be asked).
MEMORY = np.dtype([(name, "<i8") for name in ("official_ms", "filler_ms", "habit", "lost_ms", "day", "named_day")])
LISTENING, NEVER = -1, 0  # values of lost_ms
NOWHERE = -1  # the row of a key that has none
fields_of = attrgetter(*LastTrade.__slots__)
# Values that stand for "never sent"; the vendor omits those in the first group when they are zero.
NEVER_SENT: Floats = np.array([0.0 if name in {"oi", "atp", "iv", "prev_close"} else NULL for name in CARRIED_NAMES])


class InstrumentStates:
    """The state of each instrument introduced by `learn`.

    Attributes
    ----------
    last_trades
        Shape (instruments,), of type `LAST_TRADE`.
    carried
        Shape (instruments, 18), float64: the last value of each of `CARRIED_NAMES`.
    memory
        Shape (instruments,), of type `MEMORY`.
    heard_us
        Shape (instruments, 2), int64: when the last update came on each socket, our clock, epoch microseconds;
        0: not since the start.
    version
        Grows whenever a key is introduced or comes to mean another instrument.
    """

    def __init__(self) -> None:
        self.last_trades: NDArray[Any] = np.empty(0, LAST_TRADE)
        self.carried: Floats = np.empty((0, len(CARRIED_NAMES)))
        self.memory: NDArray[Any] = np.empty(0, MEMORY)
        self.heard_us: Integers = np.empty((0, SOCKETS), np.int64)
        self.keys: list[str] = []  # key of each row
        self._places: dict[str, int] = {}  # instrument key -> row of the arrays; valid keys only
        self.version = 0

    def unknown(self, keys: Iterable[str]) -> list[str]:
        """Return the valid keys not yet introduced by `learn`, each once, sorted."""
        return sorted(filter(is_key, set(keys).difference(self._places)))

    def unnamed(self, keys: Iterable[str], day: int) -> set[str]:
        """Return the valid keys whose meaning on a day the database has not given yet."""
        asked = list(keys)
        places = self.places(asked)
        named = places != NOWHERE
        named[named] = self.memory["named_day"][places[named]] == day
        return set(filter(is_key, compress(asked, ~named)))

    def forget_names(self) -> None:
        """Make the database resolve each key again when it is next seen."""
        self.memory["named_day"] = 0

    def learn(self, instruments: Iterable[InstrumentRef], day: int = 0) -> None:
        """Introduce instruments with the meaning of their keys on a day.

        Known instruments keep their state. If a key now means another instrument, that one starts without state.
        """
        refs, fresh, changed = list(instruments), [], False
        for ref in refs:
            start = fields_of(LastTrade(ref.instrument_id, ref.instrument_key.partition("|")[0].endswith("_INDEX")))
            place = self._places.setdefault(ref.instrument_key, len(self.keys))
            if place == len(self.keys):
                self.keys.append(ref.instrument_key)
                fresh.append(start)
            elif place >= len(self.last_trades):  # twice in this call: the last one counts
                fresh[place - len(self.last_trades)] = start
            elif self.last_trades["instrument_id"][place] != ref.instrument_id:
                self.last_trades[place], self.carried[place] = start, NEVER_SENT
                self.memory[place], self.heard_us[place] = 0, 0
                changed = True
        self._grow(fresh)
        self.version += bool(fresh) or changed
        if day:
            self.memory["named_day"][self.places([ref.instrument_key for ref in refs])] = day

    def _grow(self, fresh: list[tuple[Any, ...]]) -> None:
        """Append rows."""
        self.last_trades = np.concatenate([self.last_trades, np.array(fresh, LAST_TRADE)])
        self.carried = np.concatenate([self.carried, np.tile(NEVER_SENT, (len(fresh), 1))])
        self.memory = np.concatenate([self.memory, np.zeros(len(fresh), MEMORY)])
        self.heard_us = np.concatenate([self.heard_us, np.zeros((len(fresh), SOCKETS), np.int64)])

    def known_places(self, keys: Iterable[str]) -> list[int]:
        """Return the rows of the keys that are known."""
        return [self._places[key] for key in keys if key in self._places]

    def place(self, key: str) -> int | None:
        """Return the row of a key; None if it is unknown."""
        return self._places.get(key)

    def places(self, keys: list[str]) -> Integers:
        """Return the row of each key, `NOWHERE` for unknown keys."""
        return np.fromiter(map(self._places.get, keys, repeat(NOWHERE)), np.int64, len(keys))

    def recall(self, instruments: Iterable[InstrumentRef], rows: Floats) -> None:
        """Restore the state from rows of `ticks`, one per instrument: the last that counted.

        Used when the journal has lost records that the database has: the true state is gone.
        """
        order = np.argsort(rows[:, TICK_COLUMN_NAMES.index("ts")])  # if two had the same key, the newer comes last
        refs, rows = [list(instruments)[index] for index in order.tolist()], rows[order]
        self.learn(refs)
        places = self.places([ref.instrument_key for ref in refs])
        ts, ltp, ltq, ltt, vtt = (
            np.nan_to_num(rows[:, TICK_COLUMN_NAMES.index(name)]) for name in ("ts", "ltp", "ltq", "ltt", "vtt")
        )
        day, ltt_day = (day_number(us // 1000) for us in (ts, ltt))
        known = self.last_trades[places]
        known["day"], known["ltp"], known["ltq"] = day, ltp, ltq
        # The last trade is of an earlier day: the row's day has opened without a trade yet.
        known["ltt_ms"], known["vtt"] = np.where(ltt_day == day, (ltt // 1000, vtt), 0)
        self.last_trades[places] = known
        carried = rows[:, CARRIED]
        self.carried[places] = np.where(np.isnan(carried), NEVER_SENT, carried)
        self.memory["lost_ms"][places] = LISTENING

    def interrupt(self, keys: Iterable[str] | None = None, *, at_ms: int = NEVER) -> Integers:
        """Note that we stopped listening, for some keys or for all: their next update is a snapshot.

        Returns the ids of the instruments that we were listening to.
        """
        places = (
            np.arange(len(self.last_trades))
            if keys is None
            else np.array([self._places[key] for key in keys if key in self._places], np.int64)
        )
        self.last_trades["connected"][places] = False
        lost = places[self.memory["lost_ms"][places] == LISTENING]
        self.memory["lost_ms"][lost] = at_ms
        ids: Integers = self.last_trades["instrument_id"][lost].astype(np.int64)
        return ids

    def dump(self, counts: Mapping[str, int], standby: Mapping[str, Any]) -> bytes:
        """Serialise as JSON, the arrays as base64: 5 ms for 10,000 instruments."""
        document = {  # keys as earlier versions wrote them
            "counts": counts,
            "pair": standby,
            "keys": self.keys,
            "reference_fields": LAST_TRADE.descr,
            "references": base64.b64encode(self.last_trades.tobytes()).decode(),
            "memory": {name: self.memory[name].tolist() for name in MEMORY.names or ()},
            "carried_names": CARRIED_NAMES,
            "carried": base64.b64encode(self.carried.tobytes()).decode(),
        }
        return json.dumps(document).encode()

    @classmethod
    def load(cls, dumped: bytes) -> tuple[InstrumentStates, dict[str, int], dict[str, Any]]:
        """Rebuild what `dump` wrote: the states, the counts and the state of `Standby`.

        Arrays are read by the names written beside them, so a version with more columns can read
        the checkpoint of one with fewer.
        """
        document = json.loads(dumped)
        states = cls()
        states.learn(InstrumentRef(0, key) for key in document["keys"])
        for key in document["keys"]:
            if not is_key(key):  # accepted by an earlier version; its row stays, unreachable
                del states._places[key]
        fields = np.dtype([(name, kind) for name, kind in document["reference_fields"]])
        references = np.frombuffer(base64.b64decode(document["references"]), fields)
        for name in fields.names or ():
            states.last_trades[name] = references[name]
        states.memory["day"] = states.last_trades["day"]  # as assumed by versions that did not store it
        for name, values in document.get("memory", {}).items():
            states.memory[name] = values
        names = document["carried_names"]
        carried = np.frombuffer(base64.b64decode(document["carried"])).reshape(len(references), len(names))
        states.carried[:, [CARRIED_NAMES.index(name) for name in names]] = carried
        return states, document["counts"], document.get("pair", {})
