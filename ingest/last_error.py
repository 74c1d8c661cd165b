"""Last errors: what went wrong with a part, when, and whether it is over. One form for all that a status shows.

An error lasts until its part works again, which the part itself says; it stays as the last one, with the time it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ingest.redaction import redact
from ingest.time_source import TimeSource

TEXT_CHARS_MAX = 500  # of an error whose text holds what came from outside


@dataclass(slots=True)
class LastError:
    """The last error of one part.

    Attributes
    ----------
    text
        What it says, without secrets; "": there was none.
    count
        Errors so far.
    at, over_at
        When it happened, and when the part worked again; None: it has not yet.
    """

    time_source: TimeSource = field(default_factory=TimeSource)
    text: str = ""
    count: int = 0
    at: datetime | None = None
    over_at: datetime | None = None

    @property
    def lasts(self) -> bool:
        """Whether the part has not worked since."""
        return self.at is not None and self.over_at is None

    def happened(self, error: object) -> None:
        """Note an error, or why something came to nothing."""
        self.text, self.count = redact(str(error))[:TEXT_CHARS_MAX], self.count + 1
        self.at, self.over_at = self.time_source.now(), None

    def over(self) -> None:
        """Note that the part works."""
        if self.lasts:
            self.over_at = self.time_source.now()

    def account(self) -> dict[str, Any] | None:
        """Return it for the status: `state` is `now` or `over`; None: there was none."""
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
        """Return that of a part."""
        return self._parts.setdefault(name, LastError(self._time_source))

    def lasting(self) -> dict[str, str]:
        """Return the parts that do not work now, with why."""
        return {name: error.text for name, error in self._parts.items() if error.lasts}

    def account(self) -> dict[str, dict[str, Any]]:
        """Return those that there were, for the status."""
        return {name: found for name, error in self._parts.items() if (found := error.account())}
