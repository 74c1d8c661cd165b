"""Times as shown to users: Indian time for people, UTC in ISO 8601 for programs. Pure.

Every time that a person reads on a terminal goes through `ist`: messages, logs, text tables. Frames are written by
`analytics.cli.output` in the same two ways.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timezone

from ingest.market.time import IST

INDIA = timezone(IST, "IST")


def ist(at: datetime) -> str:
    """Return an aware time as people read it, with the fraction of a second if it has one.

    Examples
    --------
    >>> ist(datetime(2025, 12, 15, 3, 45, tzinfo=UTC)), ist(datetime(2025, 12, 15, 20, 0, 0, 250_000, tzinfo=UTC))
    ('2025-12-15 09:15:00 IST', '2025-12-16 01:30:00.250 IST')
    """
    precision = "seconds" if not at.microsecond else "milliseconds" if not at.microsecond % 1000 else "microseconds"
    return f"{at.astimezone(INDIA).replace(tzinfo=None).isoformat(' ', precision)} IST"


def iso(at: date) -> str:
    """Return a day or an aware time in ISO 8601; times in UTC.

    Examples
    --------
    >>> iso(datetime(2025, 12, 15, 9, 15, tzinfo=INDIA)), iso(date(2025, 12, 15))
    ('2025-12-15T03:45:00Z', '2025-12-15')
    """
    if not isinstance(at, datetime):
        return at.isoformat()
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def jsonable(value: object) -> str:
    """Return as text what JSON cannot represent, for `json.dumps(..., default=jsonable)`."""
    return iso(value) if isinstance(value, date) else str(value)
