"""Events as bytes: ticks as rows of JSON, and the lines of `text/event-stream`. Pure.

A tick is encoded once for all clients. Rows name their columns once in each event, because names would be more than
half of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from ingest.model.ticks import CARRIED, TICK_COLUMN_NAMES, TICK_COLUMNS, Floats, Integers
from ingest.store.copy_format import nullify

# The columns of `ticks`; instead of our id the instrument's key and its trading symbol (null: no list has it).
STREAM_COLUMNS = ("instrument_key", "symbol", *(name for name in TICK_COLUMN_NAMES if name != "instrument_id"))
_ID = TICK_COLUMN_NAMES.index("instrument_id")
_SEQ = TICK_COLUMN_NAMES.index("seq")
_LTT = TICK_COLUMN_NAMES.index("ltt")
_SENT = tuple((place, kind) for place, (name, kind) in enumerate(TICK_COLUMNS) if name != "instrument_id")


class States(Protocol):
    """The memory of all instruments of a stream: `ingest.normalise` has its fields."""

    keys: list[str]
    last_trades: NDArray[Any]
    carried: Floats
    heard_us: Integers

    def known_places(self, keys: Iterable[str]) -> list[int]:
        """Return the rows of the keys that are known."""


Encoded = tuple[str, int, bytes]  # instrument key, seq, the tick as JSON


def encoded_ticks(rows: Floats, name_of: Callable[[int], tuple[str, bytes]]) -> list[Encoded]:
    """Return ticks as rows of JSON in the order of `STREAM_COLUMNS`.

    Parameters
    ----------
    rows
        Shape (rows, 28), float64, columns as `TICK_COLUMNS`, NaN for NULL.
    name_of
        Returns the key of an instrument id, and the beginning of its rows; see `beginning`.
    """
    ids, seqs = (rows[:, place].astype(np.int64).tolist() for place in (_ID, _SEQ))
    names = [name_of(id_) for id_ in ids]
    encoded = _encoded(rows, [begin for _, begin in names])
    return list(zip([key for key, _ in names], seqs, encoded, strict=True))


def beginning(key: str, symbol: str | None) -> bytes:
    """Return the beginning of the rows of an instrument: `["NSE_FO|53001","NIFTY FUT 29 DEC 26",`."""
    return to_json([key, symbol])[:-1] + b","


def last_rows(states: States, keys: Iterable[str]) -> Floats:
    """Return the last state of instruments as rows like those of ticks, without those that have not traded.

    `ts` is the time of the last trade. `seq`, `traded` and `volume` are NaN, because it is no update.
    """
    places = [place for place in states.known_places(keys) if states.last_trades["ltt_ms"][place]]
    rows = np.full((len(places), len(TICK_COLUMN_NAMES)), np.nan)
    known = states.last_trades[places]
    for name in ("ltp", "ltq", "vtt"):
        rows[:, TICK_COLUMN_NAMES.index(name)] = known[name]
    rows[:, 0] = rows[:, _LTT] = known["ltt_ms"] * 1000.0
    rows[known["is_index"], TICK_COLUMN_NAMES.index("ltq")] = np.nan
    rows[known["is_index"], TICK_COLUMN_NAMES.index("vtt")] = np.nan
    rows[:, CARRIED] = states.carried[places]
    heard_us = states.heard_us[places].max(axis=1, initial=0).astype(np.float64)
    rows[:, TICK_COLUMN_NAMES.index("received_at")] = np.where(heard_us > 0, heard_us, np.nan)
    nullify(rows)
    rows[:, _ID] = known["instrument_id"]
    return rows


def encoded_states(rows: Floats, name_of: Callable[[int], tuple[str, bytes]]) -> list[bytes]:
    """Return rows of `last_rows` as rows of JSON."""
    return _encoded(rows, [name_of(int(id_))[1] for id_ in rows[:, _ID].tolist()])


def rows_event(kind: str, columns: Sequence[str], rows: Iterable[bytes], *, of: str = "", at: str = "") -> bytes:
    """Return an event of rows; `of` is the kind of its rows where the event's own kind does not say it."""
    named = b'"kind":' + to_json(of) + b"," if of else b""
    return event(kind, b"{" + named + b'"columns":' + to_json(columns) + b',"rows":[' + b",".join(rows) + b"]}", at=at)


def event(kind: str, data: bytes | dict[str, object], *, at: str = "") -> bytes:
    """Return one event: its kind, its data (JSON without line ends), and the position behind it."""
    body = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), b"id: %s\n" % at.encode() if at else b"", body)


def heartbeat(at: str) -> bytes:
    """Return a comment, and the position, which a browser or a library keeps without an event."""
    return b": heartbeat\nid: %s\n\n" % at.encode()


def _encoded(rows: Floats, beginnings: Sequence[bytes]) -> list[bytes]:
    columns = [_plain(rows[:, place], kind) for place, kind in _SENT]
    return [
        begin + to_json(values, inf_nan_mode="null")[1:]
        for begin, values in zip(beginnings, zip(*columns, strict=True), strict=True)
    ]


def _plain(values: Floats, kind: str) -> list[object]:
    """Return a column as values that JSON has; NaN stays, and becomes null."""
    if kind == "float8":
        return values.tolist()  # type: ignore[no-any-return]
    unknown = np.isnan(values)
    whole = np.where(unknown, 0.0, values).astype(np.int64)
    if kind == "timestamptz":
        plain = np.datetime_as_string(whole.astype("datetime64[us]"), timezone="UTC").tolist()
    elif kind == "bool":
        plain = (whole == 1).tolist()
    else:
        plain = whole.tolist()
    for place in np.flatnonzero(unknown).tolist():
        plain[place] = None
    return plain  # type: ignore[no-any-return]
