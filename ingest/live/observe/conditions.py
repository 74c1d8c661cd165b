"""Conditions: what is wrong with a recording now, each with a stable id, and since when. Pure data.

Owns the ids, which alerts, the page and the runbook share. Must not know how a condition is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

Severity = Literal["problem", "warning"]

# Each condition and what it means; the runbook in ingest/README.md has a section for each alert.
CONDITIONS: dict[str, str] = {
    "feed_silent": "a connection is open, its market too, and no frame comes",
    "feed_slow": "a connection brings far fewer frames than usual at this minute",
    "feed_down": "the market is open, and a connection is not",
    "token_refused": "the vendor refused the access token; recording waits for another",
    "token_ending": "the access token ends, or has ended, and is needed soon",
    "keys_left_out": "keys of the universe are unsubscribed by hand",
    "keys_failed": "the feed has not answered keys",
    "keys_silent": "keys have had no update for far longer than usual",
    "journal_unwritable": "the journal cannot be written, so the feed is not read",
    "journal_disk": "the journal's disk, or its quota, is nearly full",
    "database_away": "the database does not answer; the journal keeps everything",
    "ledger_unknown": "the database was never reached: nothing is decoded",
    "no_writer": "nobody reads the journal of a collector, which keeps everything; or nobody gives it keys",
    "journal_unpublished": "the journal does not reach the broker; writers may fetch it from here",
    "gaps_unrepaired": "minutes without the feed have no bars of the vendor after ten minutes",
    "replica_behind": "a replica of the database is away or behind; what is read there is old",
    "side_table_full": "a side table has reached its limit of the day",
    "task_failed": "a background task failed lately",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now.

    Attributes
    ----------
    id
        One of `CONDITIONS`.
    severity
        "problem": data that should flow does not, or soon will not, and a person must act; "warning": all others.
    text
        One line for people, without secrets.
    subject
        Which connection, task or relation; "": there is one only.
    since
        When it was first seen, aware UTC; None: not noted yet.
    """

    id: str
    severity: Severity
    text: str
    subject: str = ""
    since: datetime | None = None

    def account(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.id,
            "severity": self.severity,
            "text": self.text,
            "subject": self.subject,
            "since": self.since.isoformat() if self.since else None,
        }


class Backlog(NamedTuple):
    """What is left to repair today, as the database knows; see `live/backlog.sql`."""

    gaps: int  # breaks of whole connections
    unrepaired: int  # of them, not repaired although their time is over
    first_ended_at: datetime | None  # of the unrepaired
    unheard: int  # minutes of instruments without a complete bar
    watermark: datetime | None  # each one-minute bar before it is final


class SeenReplica(NamedTuple):
    """A replica, as the primary or the replica itself tells; see `ingest.live.observe.replicas`."""

    name: str
    error: str  # what is wrong with it, one line; "": nothing
    lag_bytes: int | None  # None: not known; the primary shows it to pg_monitor only
    lag_s: float | None  # None: not known, or idle


@dataclass(slots=True)
class Facts:
    """What only a thread or the database can tell, as last asked by the observer, and since when conditions last.

    Attributes
    ----------
    journal_free_bytes
        Free bytes on the journal's disk; None: not known.
    backlog_bytes
        Bytes of each stream's journal that are not read yet.
    backlog
        What is left to repair today; None: not known.
    replicas
        The replicas that are connected, or were lately.
    """

    journal_free_bytes: int | None = None
    backlog_bytes: dict[str, int] = field(default_factory=dict)
    backlog: Backlog | None = None
    replicas: tuple[SeenReplica, ...] = ()
    _since: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def dated(self, found: Iterable[Condition], now: datetime) -> list[Condition]:
        """Return conditions with the time since which each has lasted; all others are over."""
        conditions = list(found)
        before = self._since
        self._since = {(one.id, one.subject): before.get((one.id, one.subject), now) for one in conditions}
        return [
            Condition(one.id, one.severity, one.text, one.subject, self._since[one.id, one.subject])
            for one in conditions
        ]
