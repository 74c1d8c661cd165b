"""Status of a running ingestion, as plain values.

Fields that an earlier program had in its first four answers keep their names; more precise fields stand
beside them. A key counts as subscribed when the feed has answered it, not when it was requested.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ingest.feed.connection import FeedConnection
from ingest.feed.frame_rate import Verdict
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.market.time import utc_of_ms
from ingest.model.ticks import CARRIED_NAMES

TROUBLE_S = 30.0  # a reconnect takes less; a longer trouble is reported
_BID, _ASK = CARRIED_NAMES.index("bid"), CARRIED_NAMES.index("ask")


def websocket_status(ingestion: Ingestion, gaps_today: int | None = None) -> dict[str, Any]:
    """Return the state of connections and keys, with counters of their data."""
    streams = _used(ingestion)
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
        "database_away_s": _away_s(ingestion),
        "is_decoding": _knows_ledger(ingestion),
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
    for stream in _used(ingestion):
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


def health(ingestion: Ingestion) -> dict[str, Any]:
    """Return `healthy`, or `unhealthy` with the problems that keep data from flowing.

    A universe whose keys are all unsubscribed, and an open market without any connection, are problems at once.
    Trouble with only one connection of a pair, or trouble that has not stopped data yet, is a warning.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for stream in _used(ingestion):
        found = [problem for feed in stream.feeds if (problem := _problem(ingestion, stream, feed))]
        (problems if len(found) == len(stream.feeds) else warnings).extend(found)
    if left_out := ingestion.left_out:
        text = f"{left_out:,} keys of the universe are unsubscribed by hand until the next start"
        (warnings if ingestion.keys else problems).append(text)
    unheard = ingestion.watchdog.market_time() is None  # the feed has not said yet whether the market is closed
    feeds = [
        feed for stream in _used(ingestion) if unheard or ingestion.watchdog.is_open(stream) for feed in stream.feeds
    ]
    if feeds and not problems and not any(feed.connected for feed in feeds):
        problems.append(f"no connection: {feeds[0].error.text or feeds[0].life.state.value}")
    states = [state for stream in _used(ingestion) for state in stream.key_states.values()]
    if failed := states.count(KeyState.FAILED):
        warnings.append(f"{failed:,} of {len(ingestion.keys):,} keys are not answered: run `tickline status --retry`")
    warnings += [
        f"limit of the day reached: {rows:,} rows of tickline.{relation} are only counted since the start"
        for relation, rows in sorted(dict(ingestion.writer.writer.left_out).items())
    ]
    warnings += ingestion.fence.warnings()
    problems += [f"journal: {stream.journal_error}" for stream in ingestion.streams if stream.journal_error]
    if (away_s := _away_s(ingestion)) is not None and (away_s > TROUBLE_S or not _knows_ledger(ingestion)):
        problems.append(f"database away for {away_s:.0f} s: {ingestion.writer.error.text}")
        if not _knows_ledger(ingestion):
            problems.append("frames are only journalled until the database can be reached for the first time")
    return {
        "status": "unhealthy" if problems else "healthy",
        "environment": "production" if "upstox.com" in ingestion.streams[0].settings.api_url else "simulator",
        "problems": problems,
        "warnings": warnings,
    }


def _used(ingestion: Ingestion) -> list[Stream]:
    return [stream for stream in ingestion.streams if stream.feed.keys]


def _problem(ingestion: Ingestion, stream: Stream, feed: FeedConnection) -> str:
    """Return why data that should flow over a connection does not; "": it flows, or need not."""
    lasted_s = ingestion.watchdog.time_source.monotonic() - feed.life.since_s
    at = ingestion.watchdog.market_time()
    if at is not None and not ingestion.watchdog.is_open(stream):
        return ""
    if feed.connected:
        if ingestion.watchdog.verdict(feed) in {Verdict.QUIET, Verdict.DEAD}:
            return f"connection {feed.name} is silent"
        if ingestion.watchdog.verdict(feed) is Verdict.SLOW:
            rate, usual = ingestion.watchdog.rate(feed), ingestion.watchdog.usual_rate(feed)
            return f"connection {feed.name} is slow: {rate:.1f} frames/s, usually {usual:.1f} at this minute"
        if feed.life.state is State.SUBSCRIBING and lasted_s > TROUBLE_S:
            return f"connection {feed.name} is open but brings no data"
        return ""
    if feed.life.state is State.WAITING_FOR_TOKEN or feed.life.failures > 1 or lasted_s > TROUBLE_S:
        return f"connection {feed.name} is {feed.life.state.value}: {feed.error.text}"
    return ""


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


def _knows_ledger(ingestion: Ingestion) -> bool:
    """Tell whether frames are decoded: that needs the end of the ledger, so before it only the journal is written."""
    return all(stream.consumer.knows_ledger for stream in ingestion.streams)


def _away_s(ingestion: Ingestion) -> float | None:
    since = ingestion.writer.away_since
    return None if since is None else round(time.monotonic() - since, 1)
