"""Status: what a running ingestion says of itself, as plain values.

The fields of the first four answers that the issue tracker's earlier program had keep their names; the
honest ones stand beside them. A key counts as subscribed when the feed has answered it, not when it was
asked for.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.feed.connection import FeedConnection
from ingest.feed.frame_rate import Verdict
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.model.ticks import CARRIED_NAMES

TROUBLE_S = 30.0  # a reconnect takes less; what lasts longer is said
_BID, _ASK = CARRIED_NAMES.index("bid"), CARRIED_NAMES.index("ask")


def websocket_status(service: Ingestion, gaps_today: int | None = None) -> dict[str, Any]:
    """Return the state of the connections and what flows over them."""
    lines = _used(service)
    keys = {key: state for line in lines for key, state in line.key_states.items()}
    counts = Counter(keys.values())
    total, confirmed = len(service.keys), counts[KeyState.CONFIRMED]
    heard = [feed.stats.last_us for line in lines for feed in line.feeds if feed.stats.last_us]
    at = service.watch.market_time()
    return {
        "is_running": True,
        "websocket_connected": bool(lines) and all(any(feed.connected for feed in line.feeds) for line in lines),
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
        "last_frame_age_s": _age_s(service, max(heard)) if heard else None,
        "journal_lag_bytes": sum(line.reader.backlog_bytes() for line in service.lines),
        "database_away_s": _away_s(service),
        "is_decoding": _knows_ledger(service),
        "errors": service.errors.account() | ({"database": away} if (away := service.writer.error.account()) else {}),
        "gaps_today": gaps_today,
        "market_time": at.isoformat() if at else None,
        "segments": _segments(service, at),
        "connections": [_connection(service, line, feed) for line in lines for feed in line.feeds],
        "handlers": [handler.account() for handler in service.handlers],
    }


def subscriptions(service: Ingestion) -> dict[str, Any]:
    """Return every key with its mode, its connection and what is known of it."""
    found: dict[str, dict[str, str]] = {}
    for line in _used(service):
        known = {key: state.value for key, state in line.key_states.items()}
        for key, mode in line.feed.keys.items():
            found[key] = {"mode": mode, "connection": line.stream, "state": known.get(key, "waiting its turn")}
    return {"total_symbols": len(found), "subscriptions": found}


def latest_tick(service: Ingestion, key: str) -> dict[str, Any] | None:
    """Return the last tick of a key, at the cost of a few look-ups; None: none has come."""
    line = service.line_of(key)
    return None if line is None else _latest(line, key)


def latest_ticks(service: Ingestion, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the last tick of some keys, at the cost of those, or of every key; a key that has none is left out."""
    wanted = service.keys if keys is None else keys
    found = {key: tick for key in wanted if (tick := latest_tick(service, key))}
    updates = sum(line.consumer.account.ticks for line in service.lines)
    return {"symbols_tracked": len(found), "price_updates": updates, "latest_ticks": found}


def health(service: Ingestion) -> dict[str, Any]:
    """Return `healthy`, or `unhealthy` with what is wrong: data that should flow do not.

    A universe of which nothing is wanted, and an open market without any connection, are wrong at once.
    What is wrong with one of two connections with the same keys, or not yet a failure, is a warning.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for line in _used(service):
        found = [problem for feed in line.feeds if (problem := _problem(service, line, feed))]
        (problems if len(found) == len(line.feeds) else warnings).extend(found)
    if left_out := service.left_out:
        text = f"{left_out:,} keys of the universe are unsubscribed by hand until the next start"
        (warnings if service.keys else problems).append(text)
    unheard = service.watch.market_time() is None  # nobody has said yet that the market is closed
    feeds = [feed for line in _used(service) if unheard or service.watch.is_open(line) for feed in line.feeds]
    if feeds and not problems and not any(feed.connected for feed in feeds):
        problems.append(f"no connection: {feeds[0].error.text or feeds[0].life.state.value}")
    states = [state for line in _used(service) for state in line.key_states.values()]
    if failed := states.count(KeyState.FAILED):
        warnings.append(f"{failed:,} of {len(service.keys):,} keys are not answered: run `tickline status --retry`")
    warnings += service.fence.warnings()
    problems += [f"journal: {line.journal_error}" for line in service.lines if line.journal_error]
    if (away_s := _away_s(service)) is not None and (away_s > TROUBLE_S or not _knows_ledger(service)):
        problems.append(f"database away for {away_s:.0f} s: {service.writer.error.text}")
        if not _knows_ledger(service):
            problems.append("frames are journalled and not decoded until the database is there for the first time")
    return {
        "status": "unhealthy" if problems else "healthy",
        "environment": "production" if "upstox.com" in service.lines[0].settings.api_url else "simulator",
        "problems": problems,
        "warnings": warnings,
    }


def _used(service: Ingestion) -> list[Stream]:
    return [line for line in service.lines if line.feed.keys]


def _problem(service: Ingestion, line: Stream, feed: FeedConnection) -> str:
    """Say why data that should flow over a connection do not; "": they do, or need not."""
    lasted_s = service.watch.timepiece.monotonic() - feed.life.since_s
    at = service.watch.market_time()
    if at is not None and not service.watch.is_open(line):
        return ""
    if feed.connected:
        if service.watch.verdict(feed) in {Verdict.QUIET, Verdict.DEAD}:
            return f"connection {feed.name} is silent"
        if service.watch.verdict(feed) is Verdict.SLOW:
            rate, usual = service.watch.rate(feed), service.watch.usual_rate(feed)
            return f"connection {feed.name} is slow: {rate:.1f} frames/s, usually {usual:.1f} at this minute"
        if feed.life.state is State.SUBSCRIBING and lasted_s > TROUBLE_S:
            return f"connection {feed.name} is open and brings no data"
        return ""
    if feed.life.state is State.WAITING_FOR_TOKEN or feed.life.failures > 1 or lasted_s > TROUBLE_S:
        return f"connection {feed.name} is {feed.life.state.value}: {feed.error.text}"
    return ""


def _connection(service: Ingestion, line: Stream, feed: FeedConnection) -> dict[str, Any]:
    alarms = service.watch.alarms[feed.name]
    return {
        "name": feed.name,
        "state": feed.life.state.value,
        "state_s": round(service.watch.timepiece.monotonic() - feed.life.since_s, 1) if feed.life.since_s else None,
        "keys": len(feed.keys),
        "key_states": {state.value: number for state, number in feed.states.counts().items()},
        "frames": feed.stats.frames,
        "bytes": feed.stats.bytes,
        "frames_per_s": round(service.watch.rate(feed), 2),
        "frames_per_s_usual": round(service.watch.usual_rate(feed), 2),
        "verdict": service.watch.verdict(feed).value,
        "last_frame_age_s": _age_s(service, feed.stats.last_us) if feed.stats.last_us else None,
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
        "ticks": line.consumer.account.ticks,
        "could_go_on_alone": line.consumer.state.normaliser.pair.could_go_on(feed.socket) if feed.pair else None,
        "rejected": line.consumer.account.rejected,
        "duplicates": line.consumer.account.duplicates,
        "quarantined": line.consumer.account.quarantined,
    }


def _keys_in(keys: Mapping[str, KeyState], state: KeyState) -> list[str]:
    return [key for key, known in keys.items() if known is state]


def _segments(service: Ingestion, at: datetime | None) -> Mapping[str, str]:
    if at is None:
        return {}
    segments = sorted({key.partition("|")[0] for key in service.keys})
    return {segment: service.watch.segments.state(segment, at).value for segment in segments}


def _latest(line: Stream, key: str) -> dict[str, Any] | None:
    states = line.consumer.state.normaliser.states
    place = states.place(key)
    if place is None or not states.references["ltt_ms"][place]:
        return None
    known, carried = states.references[place], states.carried[place]
    bid, ask = (float(carried[index]) for index in (_BID, _ASK))
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(known["ltt_ms"]))
    return {
        "price": float(known["ltp"]),
        "volume": None if known["is_index"] else int(known["vtt"]),
        "bid": bid if math.isfinite(bid) and bid else None,
        "ask": ask if math.isfinite(ask) and ask else None,
        "timestamp": at.isoformat(),
    }


def _age_s(service: Ingestion, us: int) -> float:
    return round((service.watch.timepiece.now_us() - us) / 1e6, 3)


def _knows_ledger(service: Ingestion) -> bool:
    """Whether frames are decoded: that begins where the ledger ends, so a start without the database only journals."""
    return all(line.consumer.knows_ledger for line in service.lines)


def _away_s(service: Ingestion) -> float | None:
    since = service.writer.away_since
    return None if since is None else round(time.monotonic() - since, 1)
