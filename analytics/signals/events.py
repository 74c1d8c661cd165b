"""Make events of bars that fire: what fires together on one underlying is one event, with a leader and members. Pure.

Owns when an event begins, who leads it and who belongs to it, for a whole history and minute by minute with the same
result. Must not know why a bar fires.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

from analytics.schema import KEY
from analytics.signals.columns import SIGNALS
from analytics.signals.rules import Rules

FIELDS = (KEY, "bucket", "direction", "confidence", "reasons")  # of a member
Row = dict[str, Any]


class EventBuilder:
    """Group the bars that fire, given in order of time.

    Parameters
    ----------
    rules
        quiet_minutes and join_minutes.
    """

    def __init__(self, rules: Rules) -> None:
        self._quiet = timedelta(minutes=rules.quiet_minutes)
        self._join = timedelta(minutes=rules.join_minutes)
        self._fired: dict[str, datetime] = {}  # when anything of an underlying last fired
        self._open: dict[str, Row] = {}  # the leader of its newest event

    def add(self, minute: list[Row]) -> list[Row]:
        """Take all bars of one minute that fire, with the columns of signals but onset and members.

        Returns
        -------
        list
            The same bars with onset and members; and leaders of earlier minutes again, if somebody joined their event.
        """
        grown: dict[str, Row] = {}
        for row in sorted(minute, key=lambda one: (-one["confidence"], one[KEY])):
            event, at = row["event_key"], row["bucket"]
            last = self._fired.get(event)
            row["onset"] = last is None or (last != at and at - last > self._quiet)
            row["members"] = []
            self._fired[event] = at
            if row["onset"]:
                self._open[event] = row
            elif self._joins(row, leader := self._open[event]):
                leader["members"].append({name: row[name] for name in FIELDS})
                if leader["bucket"] != at:
                    grown[event] = leader
        return [*(dict(row) for row in grown.values()), *minute]

    def _joins(self, row: Row, leader: Row) -> bool:
        """Return whether a bar is the first of another instrument, soon enough after the leader's."""
        known = {leader[KEY], *(member[KEY] for member in leader["members"])}
        return row[KEY] not in known and row["bucket"] - leader["bucket"] <= self._join


def with_events(fired: pl.DataFrame, builder: EventBuilder) -> pl.DataFrame:
    """Return bars that fire with onset and members: columns and dtypes of `SIGNALS`, in the order given."""
    rows = fired.to_dicts()
    for _, minute in groupby(sorted(rows, key=itemgetter("bucket")), key=itemgetter("bucket")):
        builder.add(list(minute))  # fills in onset and members
    return as_signals(rows)


def as_signals(rows: list[Row]) -> pl.DataFrame:
    """Return rows as a frame with the columns and dtypes of `SIGNALS`."""
    return pl.DataFrame([row | {"members": row["members"] or None} for row in rows], schema=SIGNALS)
