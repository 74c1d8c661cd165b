"""Counters of the event stream, for the status and the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class HubCounts:
    """Counters since the start of the recording."""

    clients: int = 0  # that ever connected
    ticks: int = 0  # encoded
    events: int = 0  # sent
    bytes: int = 0  # sent
    cut_off: int = 0  # clients that did not read
    dropped: int = 0  # ticks that these had not read
