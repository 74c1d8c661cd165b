"""Where a server is in streaming replication, and how far a standby is behind its primary.

Owns how the lag is measured. A standby that has replayed all it has received is not behind, however long ago that was:
an idle primary sends nothing. Otherwise its lag is the age of the newest commit that it has replayed, which after a
quiet time is more than the true lag, so a standby that is busy gets a moment to replay what it had received first. One
without a connection to its primary cannot know what it misses: the same age is the most that it is behind. A
connection that hangs is noticed by the standby after its `wal_receiver_timeout`.
Must not know who reads, nor how far behind is too far.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.rows import class_row

from ingest.database.queries import query

PATIENCE_S = 0.2  # what a busy standby has received is replayed within milliseconds
POLL_S = 0.01
PAGE_BYTES = 8192  # of the log
RECORD_BYTES_MAX = 16 * PAGE_BYTES  # images of the pages that one change touches


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server says about itself; see `sql/queries/status/standing.sql`."""

    system: str
    is_standby: bool
    is_receiving: bool
    is_paused: bool
    received: int | None  # bytes of the log
    replayed: int | None
    replay_age_s: float | None

    @property
    def is_current(self) -> bool:
        """Whether a standby has replayed all that its primary has sent, and is connected to it; true for a primary."""
        return not self.is_standby or (self.is_receiving and self._has_replayed(self.received))

    def has_all_until(self, position: int) -> bool:
        """Tell whether what its primary had committed when its log was this long is there; true for a primary."""
        return not self.is_standby or (self.received is not None and self.received >= position and self.is_current)

    @property
    def lag_s(self) -> float | None:
        """Seconds that the rows may be older than the primary's; 0: none are; None: nothing is known."""
        if self.is_current:
            return 0.0
        return None if self.replay_age_s is None else max(self.replay_age_s, 0.0)

    def _has_replayed(self, position: int | None) -> bool:
        """Tell whether the log was replayed up to a position, or up to a record of which only the beginning is there.

        A primary that is idle may have sent the beginning of a record, up to the end of a page, seconds before its
        rest. A commit ends elsewhere: it is sent at once and whole.
        """
        if position is None or self.replayed is None:
            return False
        is_begun = position % PAGE_BYTES == 0 and position - self.replayed <= RECORD_BYTES_MAX and not self.is_paused
        return self.replayed >= position or is_begun

    def behind_bytes(self, primary: Standing) -> int | None:
        """Return how much of the log of its primary this server has not replayed, bytes; None: not known."""
        if primary.replayed is None or self.replayed is None:
            return None
        return max(primary.replayed - self.replayed, 0)

    def text(self) -> str:
        """Say it in a few words, such as "standby, 3.0 s behind, replay is paused"."""
        if not self.is_standby:
            return "no standby"
        lag_s = self.lag_s
        behind = "up to date" if self.is_current else f"{lag_s:,.1f} s behind" if lag_s is not None else "behind"
        return ", ".join(["standby", behind, *self.reasons()])

    def reasons(self) -> list[str]:
        """Return what keeps a standby behind, as far as it knows."""
        if not self.is_standby:
            return []
        return ["replay is paused"] * self.is_paused + ["it has no connection to its primary"] * (not self.is_receiving)


def standing(connection: psycopg.Connection[Any], *, patience_s: float = PATIENCE_S) -> Standing:
    """Ask a server where it is; give a standby that is replaying a moment to reach what it had received at first.

    Raises
    ------
    psycopg.Error
        If it does not answer.
    """
    found = first = _asked(connection)
    deadline = time.monotonic() + patience_s
    while not found.is_current and first.is_receiving and not found.is_paused and time.monotonic() < deadline:
        time.sleep(POLL_S)
        found = _asked(connection)
        if found.is_receiving and found._has_replayed(first.received):
            # All that it had received a moment ago is replayed: it is behind by that moment at most.
            return replace(found, received=found.replayed)
    return found


def _asked(connection: psycopg.Connection[Any]) -> Standing:
    with connection.cursor(row_factory=class_row(Standing)) as cursor:
        row = cursor.execute(query("status/standing")).fetchone()
    assert row is not None
    if not connection.autocommit:
        connection.rollback()  # a standby cancels transactions that hold up its replay
    return row
