"""Metrics: what `/metrics` serves, in the names and units that Prometheus expects.

Owns the names. Everything is read when somebody asks, from counters that the parts keep anyway: nothing here is done
for a tick. No label names an instrument; `connection` is a stream of the journal, or one of a pair of connections.
`http/metrics.py` serves them, together with whatever a user's own code has registered with `prometheus_client`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from operator import attrgetter

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from ingest.decode.frames import DECODER
from ingest.feed.connection import FeedConnection
from ingest.feed.key_states import KeyState
from ingest.live.ingestion import Ingestion
from ingest.live.observe.conditions import CONDITIONS
from ingest.live.observe.health import conditions, database_away_s, environment, key_counts, market_time
from ingest.live.stream import Stream
from ingest.market.calendar import SegmentState
from ingest.model.durations import BOUNDS_S, Durations

# Why a connection was lost, or could not be made; see `FeedStats.lost`. Each is always there, so that a rate is known
# from the first time on.
REASONS = (
    "closed",
    "broken",
    "no pong",
    "silence",
    "journal",
    "unauthorised",
    "forbidden",
    "too many requests",
    "unreachable",
)
Labels = Mapping[str, str]
Values = Iterable[tuple[Labels, float]]


class Recording:
    """The metrics of a running ingestion, as a collector of `prometheus_client`; call it on the event loop."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion
        self._version = version("tickline")  # read from a file

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its values now."""
        yield from self._process()
        yield from self._conditions()
        yield from self._feed()
        yield from self._keys()
        yield from self._ticks()
        yield from self._journal()
        yield from self._database()
        yield from self._listeners()

    def _process(self) -> Iterator[Metric]:
        settings = self._ingestion.streams[0].settings
        yield InfoMetricFamily(
            "tickline",
            "This ingester.",
            {
                "version": self._version,
                "collector": settings.collector,
                "environment": environment(self._ingestion),
                "decoder": DECODER,
            },
        )
        failures = [({"task": name}, number) for name, number in self._ingestion.fence.failures.items()]
        yield counter("tickline_task_failures", "Failures of background tasks.", failures, ["task"])
        if (ends_at := self._ingestion.streams[0].feed.api.tokens.ends_at) is not None:
            text = "When the access token ends, as it says itself, seconds since the epoch."
            yield gauge("tickline_token_expiry_timestamp_seconds", text, [({}, ends_at.timestamp())])

    def _conditions(self) -> Iterator[Metric]:
        found = conditions(self._ingestion)
        problems = sum(one.severity == "problem" for one in found)
        yield gauge("tickline_healthy", "1: /health says healthy; 0: unhealthy.", [({}, float(not problems))])
        counts = Counter((one.id, one.severity) for one in found)
        values = [
            ({"id": id_, "severity": severity}, float(counts[id_, severity]))
            for id_ in CONDITIONS
            for severity in ("problem", "warning")
        ]
        text = "How often a condition of /health holds now; CONDITIONS in ingest/live/observe/conditions.py lists them."
        yield gauge("tickline_condition", text, values, ["id", "severity"])
        at, segments = market_time(self._ingestion), self._ingestion.watchdog.segments
        if at is not None:
            states = [
                ({"segment": one, "state": state.value}, float(segments.state(one, at) is state))
                for one in sorted(self._ingestion.watchdog.recorded_segments())
                for state in SegmentState
            ]
            text = "1: the state of the segment now, by the feed or the calendar."
            yield gauge("tickline_segment_state", text, states, ["segment", "state"])

    def _feed(self) -> Iterator[Metric]:
        feeds = [feed for stream in self._streams() for feed in stream.feeds]

        def per_feed(value: Iterable[float]) -> Values:
            return [({"connection": feed.name}, one) for feed, one in zip(feeds, value, strict=True)]

        names = ["connection"]
        frames, size = (feed.stats.frames for feed in feeds), (feed.stats.bytes for feed in feeds)
        yield counter("tickline_frames", "Frames received.", per_feed(frames), names)
        yield counter("tickline_frame_bytes", "Bytes of the frames received.", per_feed(size), names)
        texts = per_feed(feed.stats.text_frames for feed in feeds)
        yield counter("tickline_text_frames", "Text messages of the feed, which are ignored.", texts, names)
        made = per_feed(feed.stats.connections for feed in feeds)
        yield counter("tickline_connections", "Connections made.", made, names)
        is_open = per_feed(float(feed.connected) for feed in feeds)
        yield gauge("tickline_connected", "1: the connection is open.", is_open, names)
        text = "Connections lost, and attempts to connect that failed, by reason; each is followed by another attempt."
        lost = [({"connection": feed.name, "reason": one}, lost_of(feed, one)) for feed in feeds for one in REASONS]
        yield counter("tickline_reconnects", text, lost, ["connection", "reason"])
        heard = [({"connection": feed.name}, feed.stats.last_us / 1e6) for feed in feeds if feed.stats.last_us]
        text = "When the last frame came, seconds since the epoch."
        yield gauge("tickline_last_frame_timestamp_seconds", text, heard, names)

    def _keys(self) -> Iterator[Metric]:
        counts = [key_counts(stream) for stream in self._streams()]
        values = [({"state": state.value}, float(sum(one[state] for one in counts))) for state in KeyState]
        yield gauge("tickline_keys", "Wanted keys that were requested, by state.", values, ["state"])
        yield gauge("tickline_keys_wanted", "Keys to record.", [({}, float(len(self._ingestion.keys)))])

    def _ticks(self) -> Iterator[Metric]:
        for name, text, attribute in (
            ("tickline_ticks", "Ticks committed.", "ticks"),
            ("tickline_trades", "Of the ticks committed, those that report a trade.", "trades"),
            ("tickline_batches", "Batches committed.", "batches"),
            ("tickline_rejected_updates", "Updates that were not stored as ticks.", "rejected"),
            ("tickline_duplicate_updates", "Updates that the other connection of a pair brought first.", "duplicates"),
            ("tickline_quarantined_frames", "Frames that could not be used.", "quarantined"),
        ):
            values = self._per_stream(attrgetter(f"consumer.counts.{attribute}"))
            yield counter(name, text, values, ["connection"])
        delays = [({"connection": one.name}, one.consumer.delays) for one in self._streams()]
        text = "From the receipt of a tick to the commit that holds it."
        yield histogram("tickline_received_to_committed_seconds", text, delays, ["connection"])

    def _journal(self) -> Iterator[Metric]:
        journals = {one.name: one.feed.write_queue.journal for one in self._streams()}
        names = ["connection"]
        records = [({"connection": name}, float(one.records)) for name, one in journals.items()]
        size = [({"connection": name}, float(one.bytes)) for name, one in journals.items()]
        yield counter("tickline_journal_records", "Records written to the journal.", records, names)
        yield counter("tickline_journal_bytes", "Bytes written to the journal.", size, names)
        syncs = [({"connection": name}, one.syncs) for name, one in journals.items()]
        yield histogram("tickline_journal_fsync_seconds", "How long each fsync of the journal took.", syncs, names)
        behind = self._per_stream(lag_records)
        yield gauge("tickline_journal_lag_records", "Records of the journal that are not committed.", behind, names)
        facts = self._ingestion.facts
        left = self._per_stream(lambda one: facts.backlog_bytes.get(one.name, 0))
        yield gauge("tickline_journal_lag_bytes", "Bytes of the journal that are not read yet.", left, names)
        text = "Age of the newest committed tick while records are not committed; 0: all are."
        yield gauge("tickline_journal_lag_seconds", text, self._per_stream(lag_s), names)
        if facts.journal_free_bytes is not None:
            text = "Free bytes on the journal's disk."
            yield gauge("tickline_journal_disk_free_bytes", text, [({}, float(facts.journal_free_bytes))])

    def _database(self) -> Iterator[Metric]:
        writer, pool = self._ingestion.writer, self._ingestion.questions.pool.account()
        away_s = database_away_s(self._ingestion) or 0.0
        yield gauge("tickline_database_away_seconds", "For how long the database has been away.", [({}, away_s)])
        yield counter("tickline_database_errors", "Failed attempts to write.", [({}, float(writer.error.count))])
        committing, copying = writer.writer.commits, writer.writer.copies
        yield histogram("tickline_commit_seconds", "How long each committed batch took.", [({}, committing)])
        yield histogram("tickline_copy_seconds", "How long the COPY of each committed batch took.", [({}, copying)])
        yield gauge("tickline_pool_connections", "Connections of the pool.", [({}, float(pool["size"]))])
        yield gauge("tickline_pool_connections_max", "Most connections of the pool.", [({}, float(pool["size_max"]))])
        yield gauge("tickline_pool_idle_connections", "Idle connections of the pool.", [({}, float(pool["idle"]))])
        yield gauge("tickline_pool_waiting", "Calls that wait for a connection.", [({}, float(pool["waiting"]))])
        dropped = [({"relation": name}, float(rows)) for name, rows in dict(writer.writer.left_out).items()]
        text = "Rows of side tables that were only counted, because the limit of the day was reached."
        yield counter("tickline_side_rows_dropped", text, dropped, ["relation"])
        replicas = [one for one in self._ingestion.facts.replicas if one.lag_s is not None or one.lag_bytes is not None]
        lags = [({"replica": one.name}, float(one.lag_s or 0.0)) for one in replicas]
        text = "How far replicas are behind; no series: one that is away, or whose lag this login may not see."
        yield gauge("tickline_replica_lag_seconds", text, lags, ["replica"])
        behind = [({"replica": one.name}, float(one.lag_bytes)) for one in replicas if one.lag_bytes is not None]
        text = "Log that replicas have not replayed; only pg_monitor may see it."
        yield gauge("tickline_replica_lag_bytes", text, behind, ["replica"])
        if (backlog := self._ingestion.facts.backlog) is None:
            return
        yield gauge("tickline_gaps_today", "Breaks of whole connections today.", [({}, float(backlog.gaps))])
        text = "Of them, those that are not repaired ten minutes after their end."
        yield gauge("tickline_gaps_unrepaired", text, [({}, float(backlog.unrepaired))])
        text = "Minutes of instruments today that were not heard completely and are not repaired."
        yield gauge("tickline_unheard_minutes", text, [({}, float(backlog.unheard))])
        at = self._ingestion.watchdog.market_time()
        if backlog.watermark is not None and at is not None:
            age_s = max((at - backlog.watermark).total_seconds(), 0.0)
            text = "Age of the watermark of the one-minute bars, in the feed's time: each bar before it is final."
            yield gauge("tickline_bars_watermark_age_seconds", text, [({}, age_s)])

    def _listeners(self) -> Iterator[Metric]:
        handlers = [one.account() for one in self._ingestion.handlers]
        values = [
            ({"handler": str(one["name"]), "outcome": outcome}, float(str(one[outcome])))
            for one in handlers
            for outcome in ("handled", "failed", "dropped")
        ]
        yield counter("tickline_handler_ticks", "Ticks of handlers, by outcome.", values, ["handler", "outcome"])
        waiting = [({"handler": str(one["name"])}, float(str(one["waiting"]))) for one in handlers]
        yield gauge("tickline_handler_waiting_ticks", "Ticks in the queues of handlers.", waiting, ["handler"])
        if self._ingestion.broadcast is None:
            return
        stream = self._ingestion.broadcast.account()
        yield gauge("tickline_stream_clients", "Clients of the event stream.", [({}, float(stream["clients"]))])
        for name, text, part in (
            ("clients_cut_off", "Clients of the event stream that did not read.", "clients_cut_off"),
            ("dropped_events", "Rows that these had not read; they get them when they resume.", "dropped"),
            ("ticks", "Ticks encoded for the event stream.", "ticks"),
            ("sent_events", "Events sent to clients of the event stream.", "events"),
            ("sent_bytes", "Bytes sent to clients of the event stream.", "bytes"),
        ):
            yield counter(f"tickline_stream_{name}", text, [({}, float(stream[part]))])

        if (sender := self._ingestion.alert_counts) is not None:
            sent = [({"outcome": one}, float(sender[one])) for one in ("sent", "failed", "dropped")]
            yield counter("tickline_alerts", "Alerts to people, by outcome.", sent, ["outcome"])

    def _streams(self) -> list[Stream]:
        """Return the streams that are used, or still commit what an earlier run left."""
        return [one for one in self._ingestion.streams if one.feed.keys or one.consumer.counts.records]

    def _per_stream(self, value: Callable[[Stream], float]) -> Values:
        return [({"connection": one.name}, float(value(one))) for one in self._streams()]


def lag_records(stream: Stream) -> int:
    """Return how many records of a stream's journal are not committed."""
    written, committed = stream.feed.write_queue.journal.next_seq - 1, stream.consumer.counts.committed_seq
    return max(written - committed, 0) if stream.consumer.knows_ledger else stream.unwritten_records


def lag_s(stream: Stream) -> float:
    """Return the age of the newest committed tick while records are not committed, seconds; otherwise 0."""
    if not lag_records(stream) or not stream.consumer.counts.committed_us:
        return 0.0
    return max(time.time() - stream.consumer.counts.committed_us / 1e6, 0.0)


def lost_of(feed: FeedConnection, reason: str) -> float:
    """Return how often a connection was lost for a reason."""
    return float(feed.stats.lost[reason])


def gauge(name: str, text: str, values: Values, labels: list[str] | None = None) -> Metric:
    """Return a gauge with its values."""
    return _filled(GaugeMetricFamily(name, text, labels=labels or []), values)


def counter(name: str, text: str, values: Values, labels: list[str] | None = None) -> Metric:
    """Return a counter with its values; its name is served with `_total`."""
    return _filled(CounterMetricFamily(name, text, labels=labels or []), values)


def histogram(
    name: str, text: str, values: Iterable[tuple[Labels, Durations]], labels: list[str] | None = None
) -> Metric:
    """Return a histogram of durations."""
    family = HistogramMetricFamily(name, text, labels=labels or [])
    for of, durations in values:
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
        family.add_metric(list(of.values()), buckets, durations.total_s)
    return family


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for labels, value in values:
        family.add_metric(list(labels.values()), float(value))
    return family
