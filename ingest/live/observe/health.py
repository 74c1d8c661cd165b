"""Health: which conditions a recording is in now, for `/health`, metrics, alerts and the page.

Owns the rules: what counts as a problem, what as a warning, and after how long. It asks nobody: it reads what the
parts know, so it may be called at any time on the event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ingest.feed.connection import FeedConnection
from ingest.feed.frame_rate import Verdict
from ingest.feed.key_states import KeyState
from ingest.feed.lifecycle import State
from ingest.feed.market_now import segments_of
from ingest.live.distributed.serving import READ_WITHIN_S, unread_s
from ingest.live.ingestion import Ingestion
from ingest.live.observe.conditions import Condition, Severity
from ingest.live.stream import Stream
from ingest.market.calendar import SegmentState
from ingest.market.shown_time import ist

TROUBLE_S = 30.0  # a reconnect takes less; a longer trouble is reported
DATABASE_AWAY_S = 5.0  # a server that restarts takes less
NAMED_MAX = 10  # keys in one text
SESSION_AHEAD = timedelta(hours=1)  # how long before a session a token is needed
LONG_TOKEN_AHEAD = timedelta(days=3)  # for a token that lives longer than a day
GAP_REPAIR = timedelta(minutes=10)  # the vendor publishes bars 2 to 3 minutes late, and repair begins after 4
QUOTA_SHARE = 0.8  # of the journal's quota; committed segments are deleted, so only uncommitted bytes count


def health(ingestion: Ingestion) -> dict[str, Any]:
    """Return `healthy`, or `unhealthy` with the problems that keep data from flowing.

    A universe whose keys are all unsubscribed, and an open market without any connection, are problems at once.
    Trouble with only one connection of a pair, or trouble that has not stopped data yet, is a warning.

    Returns
    -------
    dict
        `status`, `environment`; `problems` and `warnings`, texts; `conditions`, both as `Condition.account` has them.
    """
    found = conditions(ingestion)
    problems = [one.text for one in found if one.severity == "problem"]
    return {
        "status": "unhealthy" if problems else "healthy",
        "environment": environment(ingestion),
        "problems": problems,
        "warnings": [one.text for one in found if one.severity == "warning"],
        "conditions": [one.account() for one in found],
    }


def environment(ingestion: Ingestion) -> str:
    """Return "production" if the vendor's own feed is recorded, otherwise "simulator"."""
    return "production" if "upstox.com" in ingestion.streams[0].settings.api_url else "simulator"


def conditions(ingestion: Ingestion) -> list[Condition]:
    """Return the conditions that hold now, with the time since which each has lasted."""
    found = [
        *_of_feeds(ingestion),
        *_of_token(ingestion),
        *_of_keys(ingestion),
        *_of_journal(ingestion),
        *_of_database(ingestion),
        *_of_writers(ingestion),
        *_of_publisher(ingestion),
        *_of_tasks(ingestion),
    ]
    return ingestion.facts.dated(found, ingestion.watchdog.time_source.now())


def market_time(ingestion: Ingestion) -> datetime | None:
    """Return the market's time, aware UTC: the feed's own, or ours until the vendor's feed was heard.

    A simulator plays any day, so before its first frame nobody knows the time of its market: None.
    """
    at = ingestion.watchdog.market_time()
    if at is None and environment(ingestion) == "production":
        return ingestion.watchdog.time_source.now()
    return at


def _of_feeds(ingestion: Ingestion) -> Iterator[Condition]:
    is_problem = False
    for stream in used(ingestion):
        found = [one for feed in stream.feeds if (one := _of_feed(ingestion, stream, feed))]
        severity: Severity = "problem" if len(found) == len(stream.feeds) else "warning"
        is_problem |= severity == "problem"
        for id_, text, name in found:
            yield Condition(id_, severity, text, name)
    feeds = [feed for stream in used(ingestion) if _should_flow(ingestion, stream) for feed in stream.feeds]
    if feeds and not is_problem and not any(feed.connected for feed in feeds):
        text = f"no connection: {feeds[0].error.text or feeds[0].life.state.value}"
        yield Condition("feed_down", "problem", text, feeds[0].name)


def _of_feed(ingestion: Ingestion, stream: Stream, feed: FeedConnection) -> tuple[str, str, str] | None:
    """Return why data that should flow over a connection does not: id, text, subject; None: it flows, or need not."""
    watchdog, name = ingestion.watchdog, feed.name
    lasted_s = watchdog.time_source.monotonic() - feed.life.since_s
    if not _should_flow(ingestion, stream):
        return None
    if feed.connected:
        if feed.life.state is State.SUBSCRIBING:
            if lasted_s > stream.settings.feed_silent_s:
                return "feed_silent", f"connection {name} is open but brings no data", name
        elif watchdog.verdict(feed) in {Verdict.QUIET, Verdict.DEAD} or watchdog.is_silent(feed):
            return "feed_silent", f"connection {name} is silent", name
        elif watchdog.verdict(feed) is Verdict.SLOW:
            rate, usual = watchdog.rate(feed), watchdog.usual_rate(feed)
            text = f"connection {name} is slow: {rate:.1f} frames/s, usually {usual:.1f} at this minute"
            return "feed_slow", text, name
        return None
    if feed.life.state is State.WAITING_FOR_TOKEN:
        return "token_refused", f"connection {name} is {feed.life.state.value}: {feed.error.text}", name
    if feed.life.failures > 1 or lasted_s > TROUBLE_S:
        return "feed_down", f"connection {name} is {feed.life.state.value}: {feed.error.text}", name
    return None


def flows_of(ingestion: Ingestion) -> list[tuple[Stream, bool]]:
    """Return the streams with keys over which data should come, and whether it does."""
    return [
        (
            stream,
            any(feed.life.state is State.LIVE and not ingestion.watchdog.is_silent(feed) for feed in stream.feeds),
        )
        for stream in used(ingestion)
        if _should_flow(ingestion, stream)
    ]


def _should_flow(ingestion: Ingestion, stream: Stream) -> bool:
    """Tell whether data should flow: the market is open, or nobody can tell yet that it is closed."""
    if ingestion.watchdog.market_time() is not None:
        return ingestion.watchdog.is_open(stream)
    at = market_time(ingestion)
    segments = ingestion.watchdog.segments
    return at is None or any(
        segments.state(segment, at) is SegmentState.OPEN for segment in segments_of(stream.feed.keys)
    )


def _of_token(ingestion: Ingestion) -> Iterator[Condition]:
    """Say that a token ends, or was refused, while no session that would make it a problem has begun."""
    streams, at = used(ingestion), market_time(ingestion)
    if not streams or at is None:
        return
    tokens = streams[0].feed.api.tokens
    is_near = _session_is_near(ingestion, at)
    if is_near and not any(_should_flow(ingestion, stream) for stream in streams):
        for feed in (feed for stream in streams for feed in stream.feeds):
            if feed.life.state is State.WAITING_FOR_TOKEN:
                yield Condition("token_refused", "warning", f"{feed.error.text}: run `tickline login`", feed.name)
    if (ends_at := tokens.ends_at) is None:
        return
    left = ends_at - ingestion.watchdog.time_source.now()
    ahead = LONG_TOKEN_AHEAD if tokens.is_long else SESSION_AHEAD
    if left < ahead and (is_near or tokens.is_long):
        verb = "ends" if left > timedelta() else "ended"
        yield Condition("token_ending", "warning", f"the access token {verb} at {ist(ends_at)}: run `tickline login`")


def _session_is_near(ingestion: Ingestion, at: datetime) -> bool:
    """Tell whether a segment trades, or will within the hour."""
    segments, states = ingestion.watchdog.recorded_segments(), ingestion.watchdog.segments
    if states.may_speak(segments, at):
        return True
    opens = states.speaks_next(segments, at)
    return opens is not None and opens - at <= SESSION_AHEAD


def _of_keys(ingestion: Ingestion) -> Iterator[Condition]:
    if left_out := ingestion.left_out:
        text = f"{left_out:,} keys of the universe are unsubscribed by hand until the next start"
        yield Condition("keys_left_out", "warning" if ingestion.keys else "problem", text)
    streams = used(ingestion)
    counts = [key_counts(stream) for stream in streams]
    for id_, state, what in (
        ("keys_failed", KeyState.FAILED, "not answered: run `tickline status --retry`"),
        ("keys_silent", KeyState.SILENT, "silent"),
    ):
        if keys := [
            key
            for stream, of_it in zip(streams, counts, strict=True)
            if of_it[state]
            for key in _keys_in(stream, state)
        ]:
            named = ", ".join(keys[:NAMED_MAX]) + (" …" if len(keys) > NAMED_MAX else "")
            yield Condition(id_, "warning", f"{len(keys):,} of {len(ingestion.keys):,} keys are {what}: {named}")


def key_counts(stream: Stream) -> Mapping[KeyState, int]:
    """Return how many keys of a stream are in each state; with two connections the better state of a key counts."""
    if len(stream.feeds) == 1:  # quick, because this is asked twice a second
        return stream.feed.states.counts()
    return Counter(stream.key_states.values())


def _keys_in(stream: Stream, state: KeyState) -> list[str]:
    """Return the keys of a stream in a state; with two connections the better state of a key counts."""
    if len(stream.feeds) == 1:
        return [key for key in stream.feed.states.in_state(state) if key in stream.feed.keys]
    return [key for key, known in stream.key_states.items() if known is state]


def _of_journal(ingestion: Ingestion) -> Iterator[Condition]:
    for stream in ingestion.streams:
        if stream.journal_error:
            yield Condition("journal_unwritable", "problem", f"journal: {stream.journal_error}", stream.name)
    settings, free = ingestion.streams[0].settings, ingestion.facts.journal_free_bytes
    if free is not None and free - settings.journal_free_bytes_min < settings.journal_room_bytes_warn:
        room = max(free - settings.journal_free_bytes_min, 0)
        text = f"journal's disk is nearly full: it may take {room:,} bytes more: free some space"
        yield Condition("journal_disk", "problem", text)
    if quota := settings.journal_quota_bytes:
        for name, waiting in ingestion.facts.backlog_bytes.items():
            if waiting > QUOTA_SHARE * quota:
                text = f"journal {name!r} has {waiting:,} uncommitted bytes of {quota:,}: bring the database back"
                yield Condition("journal_disk", "problem", text, name)


def _of_database(ingestion: Ingestion) -> Iterator[Condition]:
    away_s, known = database_away_s(ingestion), knows_ledger(ingestion)
    if away_s is not None and (away_s > DATABASE_AWAY_S or not known):
        why = ingestion.writer.error.text if ingestion.writer.is_away else "a commit is not answered"
        text = f"database away for {away_s:.0f} s: {why}"
        yield Condition("database_away", "problem", text)
        if not known:
            text = "frames are only journalled until the database can be reached for the first time"
            yield Condition("ledger_unknown", "problem", text)
    backlog = ingestion.facts.backlog
    if backlog is not None and backlog.unrepaired:
        minutes = GAP_REPAIR.total_seconds() / 60
        text = (
            f"{backlog.unrepaired:,} gaps of today are not repaired {minutes:.0f} minutes after their end: "
            "`tickline backfill` says why"
        )
        yield Condition("gaps_unrepaired", "warning", text)
    for replica in ingestion.facts.replicas:
        if replica.error:
            yield Condition("replica_behind", "warning", replica.error, replica.name)
    for relation, rows in sorted(dict(ingestion.writer.writer.left_out).items()):
        text = f"limit of the day reached: {rows:,} rows of tickline.{relation} are only counted since the start"
        yield Condition("side_table_full", "warning", text, relation)


def _of_writers(ingestion: Ingestion) -> Iterator[Condition]:
    """Of a collector: whether somebody commits its journal."""
    server = ingestion.journal_server
    if ingestion.awaits_keys and (lasted_s := time.monotonic() - ingestion.began_s) > READ_WITHIN_S:
        why = (server.error if server else "") or "run `tickline write` with a universe and this collector as a source"
        yield Condition("no_writer", "problem", f"no writer has given keys for {lasted_s:.0f} s: {why}")
    if server is None or server.cursor is None:
        return
    for name, waiting in ingestion.facts.backlog_bytes.items():
        lasted_s = unread_s(server, name, ingestion.began_s)
        if waiting and lasted_s > READ_WITHIN_S:
            why = server.error or "run `tickline write` with the address of this collector"
            text = f"no writer has read journal {name!r} for {lasted_s:.0f} s, {waiting:,} bytes wait: {why}"
            yield Condition("no_writer", "problem", text, name)


def _of_publisher(ingestion: Ingestion) -> Iterator[Condition]:
    """Of a collector with a broker: whether its journal gets there."""
    if ingestion.publisher is None:
        return
    for name, (why, lasted_s) in ingestion.publisher.errors().items():
        if lasted_s > TROUBLE_S:
            text = f"journal {name!r} has not been published for {lasted_s:.0f} s: {why}"
            yield Condition("journal_unpublished", "warning", text, name)


def _of_tasks(ingestion: Ingestion) -> Iterator[Condition]:
    for name, text in ingestion.fence.failed().items():
        yield Condition("task_failed", "warning", f"{name} failed: {text}", name)


def used(ingestion: Ingestion) -> list[Stream]:
    """Return the streams that have keys."""
    return [stream for stream in ingestion.streams if stream.feed.keys]


def knows_ledger(ingestion: Ingestion) -> bool:
    """Tell whether frames are decoded: that needs the end of the ledger, so before it only the journal is written."""
    return all(stream.consumer.knows_ledger for stream in ingestion.streams)


def database_away_s(ingestion: Ingestion) -> float | None:
    """Return for how long the database has been away, or has not answered a commit, seconds; None: it is there."""
    since = ingestion.writer.away_since
    away_s = None if since is None else time.monotonic() - since
    commit_s = max((stream.consumer.commit_s for stream in ingestion.streams), default=0.0)
    if commit_s > DATABASE_AWAY_S:
        away_s = max(away_s or 0.0, commit_s)
    return None if away_s is None else round(away_s, 1)
