"""The last error of each part, as the status shows it: text, time, count, and whether it is over.

An error lasts until its part reports that it works again. Then it stays as the last error, with the time it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest.redaction import redact
from ingest.time_source import TimeSource

TEXT_CHARS_MAX = 500  # error texts may contain input of any length


@dataclass(slots=True)
class LastError:
    """The last error of one part.

    Attributes
    ----------
    text
        Its message without secrets; "" if there was none.
    count
        Errors so far.
    at, over_at
        Time of the error, and of the part's recovery, aware UTC; None: not yet.
    """

    time_source: TimeSource = field(default_factory=TimeSource)
    text: str = ""
    count: int = 0
    at: datetime | None = None
    over_at: datetime | None = None

    @property
    def lasts(self) -> bool:
        """Whether the part has not recovered yet."""
        return self.at is not None and self.over_at is None

    def happened(self, error: object) -> None:
        """Record an error or the reason of a failure."""
        self.text, self.count = redact(str(error))[:TEXT_CHARS_MAX], self.count + 1
        self.at, self.over_at = self.time_source.now(), None

    def over(self) -> None:
        """Record that the part works again."""
        if self.lasts:
            self.over_at = self.time_source.now()

    def account(self) -> dict[str, Any] | None:
        """Return the error for the status, with `state` `now` or `over`; None if there was none."""
        if self.at is None:
            return None
        return {
            "state": "now" if self.lasts else "over",
            "text": self.text,
            "at": self.at.isoformat(),
            "over_at": None if self.over_at is None else self.over_at.isoformat(),
            "count": self.count,
        }


class LastErrors:
    """The last errors of parts, by name."""

    def __init__(self, time_source: TimeSource | None = None) -> None:
        self._time_source = time_source or TimeSource()
        self._parts: dict[str, LastError] = {}

    def of(self, name: str) -> LastError:
        """Return the last error of a part, created on first use."""
        return self._parts.setdefault(name, LastError(self._time_source))

    def lasting(self) -> dict[str, str]:
        """Return the parts that do not work now, with their errors' texts."""
        return {name: error.text for name, error in self._parts.items() if error.lasts}

    def account(self) -> dict[str, dict[str, Any]]:
        """Return the errors of all parts that had one, for the status."""
        return {name: found for name, error in self._parts.items() if (found := error.account())}
