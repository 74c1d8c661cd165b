"""The last tick of each instrument, out of the memory that normalising keeps anyway."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.market.time import utc_of_ms
from ingest.model.ticks import CARRIED_NAMES

WAITING = "waiting its turn"  # state of a key that was not requested yet
_BID, _ASK = CARRIED_NAMES.index("bid"), CARRIED_NAMES.index("ask")


def latest_tick(ingestion: Ingestion, key: str) -> dict[str, Any] | None:
    """Return the last tick of a key, with a few look-ups; None: there is none yet."""
    stream = ingestion.stream_of(key)
    return None if stream is None else _latest(stream, key)


def latest_ticks(ingestion: Ingestion, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the last ticks of some keys, or of all keys; keys without a tick are left out.

    They are named by symbol. A key has its own name if no list has its symbol, or if another exchange's instrument has
    the same.
    """
    found: dict[str, dict[str, Any]] = {}
    symbols, now_us = ingestion.symbols(), ingestion.watchdog.time_source.now_us()
    for key in ingestion.keys if keys is None else keys:
        stream = ingestion.stream_of(key)
        if stream is None or (tick := _latest(stream, key)) is None:
            continue
        heard_us, state = _heard_us(stream, key), stream.key_state(key)
        found[symbols.get(key, key)] = tick | {
            "instrument_key": key,
            "age_s": round((now_us - heard_us) / 1e6, 3) if heard_us else None,
            "state": state.value if state is not None else WAITING,
        }
    updates = sum(stream.consumer.counts.ticks for stream in ingestion.streams)
    return {"symbols_tracked": len(found), "price_updates": updates, "latest_ticks": found}


def _latest(stream: Stream, key: str) -> dict[str, Any] | None:
    states = stream.consumer.state.normaliser.states
    place = states.place(key)
    if place is None or not states.last_trades["ltt_ms"][place]:
        return None
    known, carried = states.last_trades[place], states.carried[place]
    bid, ask = (float(carried[index]) for index in (_BID, _ASK))
    at = utc_of_ms(int(known["ltt_ms"]))
    return {
        "price": float(known["ltp"]),
        "volume": None if known["is_index"] else int(known["vtt"]),
        "bid": bid if math.isfinite(bid) and bid else None,
        "ask": ask if math.isfinite(ask) and ask else None,
        "timestamp": at.isoformat(),
    }


def _heard_us(stream: Stream, key: str) -> int:
    """Return when the last update of a key came, our clock, epoch microseconds; 0: not since the start."""
    states = stream.consumer.state.normaliser.states
    place = states.place(key)
    return 0 if place is None else int(states.heard_us[place].max())
