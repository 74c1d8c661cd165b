"""Settings of spike detection."""

from __future__ import annotations

from pydantic import Field

from analytics.signals.rules import Rules
from ingest.database.settings import DatabaseSettings


class SignalSettings(DatabaseSettings):
    """Settings of `tickline spikes`; `ingest.settings` has a field of the same name, so that it knows them all.

    Attributes
    ----------
    signals_per_day
        Most signals wanted a day, of all instruments together, on a day like those before; 0: no limit. What the rules
        say themselves holds instead.
    """

    signals_per_day: float = Field(20, ge=0)

    def applied_to(self, rules: Rules) -> Rules:
        """Return rules with the wanted number of signals."""
        if rules.signals_per_day is not None or self.signals_per_day == 0:
            return rules
        return rules.model_copy(update={"signals_per_day": self.signals_per_day})
