"""Status of a running ingestion, as plain values.

Fields that an earlier program had in its first four answers keep their names; more precise fields stand
beside them. A key counts as subscribed when the feed has answered it, not when it was requested.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState
from ingest.live.ingestion import Ingestion
from ingest.live.observe.health import database_away_s, knows_ledger, used
from ingest.live.stream import Stream
from ingest.market.time import utc_of_ms
from ingest.model.ticks import CARRIED_NAMES

_BID, _ASK = CARRIED_NAMES.index("bid"), CARRIED_NAMES.index("ask")


def websocket_status(ingestion: Ingestion, gaps_today: int | None = None) -> dict[str, Any]:
    """Return the state of connections and keys, with counters of their data."""
    streams = used(ingestion)
    keys = {key: state for stream in streams for key, state in stream.key_states.items()}
    counts = Counter(keys.values())
    total, confirmed = len(ingestion.keys), counts[KeyState.CONFIRMED]
    heard = [feed.stats.last_us for stream in streams for feed in stream.feeds if feed.stats.last_us]
    at = ingestion.watchdog.market_time()
    return {
        "is_running": True,
        "websocket_connected": bool(streams)
        and all(any(feed.connected for feed in stream.feeds) for stream in streams),
        "subscriptions": {
            "total_symbols": total,
            "subscribed_count": confirmed,
            "failed_count": counts[KeyState.FAILED],
            "subscription_rate": round(100 * confirmed / total, 2) if total else 0.0,
        },
        "subscribed_symbols": _keys_in(keys, KeyState.CONFIRMED),
        "confirmed_keys": confirmed,
        "silent_keys": _keys_in(keys, KeyState.SILENT),
        "failed_keys": _keys_in(keys, KeyState.FAILED),
        "last_frame_age_s": _age_s(ingestion, max(heard)) if heard else None,
        "journal_lag_bytes": sum(stream.reader.backlog_bytes() for stream in ingestion.streams),
        "database_away_s": database_away_s(ingestion),
        "is_decoding": knows_ledger(ingestion),
        "errors": ingestion.errors.account()
        | ({"database": away} if (away := ingestion.writer.error.account()) else {}),
        "database_pool": ingestion.questions.pool.account(),
        "evening": ingestion.evening,
        "gaps_today": gaps_today,
        "market_time": at.isoformat() if at else None,
        "segments": _segments(ingestion, at),
        "connections": [_connection(ingestion, stream, feed) for stream in streams for feed in stream.feeds],
        "handlers": [handler.account() for handler in ingestion.handlers],
        "stream": ingestion.broadcast.account() if ingestion.broadcast is not None else None,
    }


def subscriptions(ingestion: Ingestion) -> dict[str, Any]:
    """Return every key with its mode, connection and state."""
    found: dict[str, dict[str, str]] = {}
    for stream in used(ingestion):
        known = {key: state.value for key, state in stream.key_states.items()}
        for key, mode in stream.feed.keys.items():
            found[key] = {"mode": mode, "connection": stream.name, "state": known.get(key, "waiting its turn")}
    return {"total_symbols": len(found), "subscriptions": found}


def latest_tick(ingestion: Ingestion, key: str) -> dict[str, Any] | None:
    """Return the last tick of a key, with a few look-ups; None: there is none yet."""
    stream = ingestion.stream_of(key)
    return None if stream is None else _latest(stream, key)


def latest_ticks(ingestion: Ingestion, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the last ticks of some keys, or of all keys; keys without a tick are left out."""
    wanted = ingestion.keys if keys is None else keys
    found = {key: tick for key in wanted if (tick := latest_tick(ingestion, key))}
    updates = sum(stream.consumer.counts.ticks for stream in ingestion.streams)
    return {"symbols_tracked": len(found), "price_updates": updates, "latest_ticks": found}


def _connection(ingestion: Ingestion, stream: Stream, feed: FeedConnection) -> dict[str, Any]:
    alarms = ingestion.watchdog.alarms[feed.name]
    return {
        "name": feed.name,
        "state": feed.life.state.value,
        "state_s": round(ingestion.watchdog.time_source.monotonic() - feed.life.since_s, 1)
        if feed.life.since_s
        else None,
        "keys": len(feed.keys),
        "key_states": {state.value: number for state, number in feed.states.counts().items()},
        "frames": feed.stats.frames,
        "bytes": feed.stats.bytes,
        "frames_per_s": round(ingestion.watchdog.rate(feed), 2),
        "frames_per_s_usual": round(ingestion.watchdog.usual_rate(feed), 2),
        "verdict": ingestion.watchdog.verdict(feed).value,
        "last_frame_age_s": _age_s(ingestion, feed.stats.last_us) if feed.stats.last_us else None,
        "connections": feed.stats.connections,
        "failures_in_a_row": feed.life.failures,
        "last_error": feed.error.account(),
        "alarms": {
            "ping_timeouts": feed.stats.ping_timeouts,
            "quiet": alarms.quiet,
            "slow": alarms.slow,
            "reconnects": feed.stats.reconnects,
            "keys_failed": alarms.failed,
            "keys_silent": alarms.silent,
            "keys_asked_again": alarms.asked_again,
            "text_frames": feed.stats.text_frames,
        },
        "ticks": stream.consumer.counts.ticks,
        "could_go_on_alone": stream.consumer.state.normaliser.standby.could_go_on(feed.socket)
        if feed.standby_run
        else None,
        "rejected": stream.consumer.counts.rejected,
        "duplicates": stream.consumer.counts.duplicates,
        "quarantined": stream.consumer.counts.quarantined,
    }


def _keys_in(keys: Mapping[str, KeyState], state: KeyState) -> list[str]:
    return [key for key, known in keys.items() if known is state]


def _segments(ingestion: Ingestion, at: datetime | None) -> Mapping[str, str]:
    if at is None:
        return {}
    segments = sorted({key.partition("|")[0] for key in ingestion.keys})
    return {segment: ingestion.watchdog.segments.state(segment, at).value for segment in segments}


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


def _age_s(ingestion: Ingestion, us: int) -> float:
    return round((ingestion.watchdog.time_source.now_us() - us) / 1e6, 3)
