"""Status of a running ingestion, as plain values.

Fields that an earlier program had in its first four answers keep their names; more precise fields stand
beside them. A key counts as subscribed when the feed has answered it, not when it was requested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState
from ingest.live.ingestion import Ingestion
from ingest.live.latest_ticks import WAITING
from ingest.live.observe.health import database_away_s, knows_ledger, used
from ingest.live.stream import Stream


def websocket_status(ingestion: Ingestion, gaps_today: int | None = None) -> dict[str, Any]:
    """Return the state of connections and keys, with counters of their data."""
    streams = used(ingestion)
    keys = {key: state for stream in streams for key, state in stream.key_states.items()}
    confirmed = _keys_in(keys, KeyState.CONFIRMED)
    symbols = ingestion.symbols()
    heard = [feed.stats.last_us for stream in streams for feed in stream.feeds if feed.stats.last_us]
    at = ingestion.watchdog.market_time()
    return {
        "is_running": True,
        "websocket_connected": is_connected(ingestion),
        "subscriptions": _counts(ingestion, keys),
        "subscribed_symbols": [symbols.get(key, key) for key in confirmed],
        "subscribed_keys": confirmed,
        "confirmed_keys": len(confirmed),
        "silent_keys": _keys_in(keys, KeyState.SILENT),
        "failed_keys": _keys_in(keys, KeyState.FAILED),
        "last_frame_age_s": _age_s(ingestion, max(heard)) if heard else None,
        "journal_lag_bytes": sum(stream.waiting_bytes() for stream in ingestion.streams),
        "database_away_s": database_away_s(ingestion),
        "is_decoding": knows_ledger(ingestion),
        "errors": ingestion.errors.account()
        | ({"database": away} if (away := ingestion.writer.error.account()) else {}),
        "database_pool": ingestion.questions.pool.account(),
        "does_once": [work.name for work in ingestion.leased if work.is_held],
        "evening": ingestion.evening,
        "gaps_today": gaps_today,
        "market_time": at.isoformat() if at else None,
        "segments": _segments(ingestion, at),
        "connections": [_connection(ingestion, stream, feed) for stream in streams for feed in stream.feeds],
        "handlers": [handler.account() for handler in ingestion.handlers],
        "journal_server": ingestion.journal_server.account() if ingestion.journal_server is not None else None,
        "publisher": ingestion.publisher.account() if ingestion.publisher is not None else None,
        "stream": ingestion.broadcast.account() if ingestion.broadcast is not None else None,
    }


def is_connected(ingestion: Ingestion) -> bool:
    """Return whether every connection that has keys is up; of a pair one is enough."""
    streams = used(ingestion)
    return bool(streams) and all(any(feed.connected for feed in stream.feeds) for stream in streams)


def subscriptions(ingestion: Ingestion) -> dict[str, Any]:
    """Return every key with its symbol, mode, connection and state, and the counts of the status."""
    found: dict[str, dict[str, str | None]] = {}
    states: dict[str, KeyState] = {}
    symbols = ingestion.symbols()
    for stream in used(ingestion):
        states |= stream.key_states
        for key, mode in stream.feed.keys.items():
            state = states[key].value if key in states else WAITING
            found[key] = {"symbol": symbols.get(key), "mode": mode, "connection": stream.name, "state": state}
    return {
        "status": _counts(ingestion, states),
        "subscribed_symbols": [symbols.get(key, key) for key in _keys_in(states, KeyState.CONFIRMED)],
        "total_symbols": len(found),
        "subscriptions": found,
    }


def _counts(ingestion: Ingestion, keys: Mapping[str, KeyState]) -> dict[str, Any]:
    counts, total = Counter(keys.values()), len(ingestion.keys)
    confirmed = counts[KeyState.CONFIRMED]
    return {
        "total_symbols": total,
        "subscribed_count": confirmed,
        "failed_count": counts[KeyState.FAILED],
        "subscription_rate": f"{100 * confirmed / total if total else 0.0:.2f}%",
    }


def not_ready(ingestion: Ingestion) -> list[str]:
    """Return why what is received now would not be recorded and stored at once; empty: it would."""
    reasons = [f"journal: {stream.journal_error}" for stream in ingestion.streams if stream.journal_error]
    if not knows_ledger(ingestion):
        reasons.append("frames are only journalled until the database can be reached for the first time")
    elif (away_s := database_away_s(ingestion)) is not None:
        reasons.append(f"database away for {away_s:.0f} s: {ingestion.writer.error.text}")
    return reasons


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


def _age_s(ingestion: Ingestion, us: int) -> float:
    return round((ingestion.watchdog.time_source.now_us() - us) / 1e6, 3)
