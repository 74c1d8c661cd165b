"""Replicas: what the primary says about those that receive its log, and what the one for reading says itself.

Owns when a replica is called behind, and for how long one that has gone is remembered. It asks, and changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ingest.database.connections import Database
from ingest.database.questions import Questions
from ingest.database.server.reading import LAG_S_WARN, ReadingPlace
from ingest.live.observe.conditions import SeenReplica
from ingest.settings import Settings

LAG_BYTES_WARN = 64 * 2**20  # of log: a minute of 20,000 ticks a second
GONE_S = 3600.0  # one that was taken away on purpose is not missed for longer
COPIES = ("pg_basebackup", "pg_receivewal")  # programs that come and go


class Replicas:
    """The replicas of one primary.

    Parameters
    ----------
    questions
        Asks the primary.
    reading_place
        The server for reading, if it is another one; None: it is not.
    """

    def __init__(self, questions: Questions, reading_place: ReadingPlace | None) -> None:
        self._questions = questions
        self._place = reading_place if reading_place is not None and reading_place.is_other_server else None
        self._seen_at: dict[str, float] = {}  # by the monotonic clock

    @classmethod
    def of(cls, settings: Settings, questions: Questions) -> Replicas:
        """Return the replicas of the database of the settings."""
        is_url = settings.database_url is not None
        return cls(questions, Database.place(settings).reading_place if is_url else None)

    async def look(self) -> tuple[SeenReplica, ...]:
        """Ask primary and replica.

        Raises
        ------
        StoreError
            If the primary does not answer.
        """
        rows = await self._questions.rows("status/replicas", {})
        found = [*self._of_primary(rows, time.monotonic())]
        if self._place is not None:
            found.append(await asyncio.to_thread(_of_reading, self._place))
        return tuple(found)

    def _of_primary(self, rows: Iterable[tuple[Any, ...]], now_s: float) -> Iterator[SeenReplica]:
        """Yield the connected replicas, and those that were connected lately."""
        connected = set()
        for name, _, _, _, lag_bytes, lag_s in rows:
            if name in COPIES:
                continue
            connected.add(name)
            self._seen_at[name] = now_s
            is_behind = (lag_bytes or 0) > LAG_BYTES_WARN or (lag_s or 0.0) > LAG_S_WARN
            behind = f"{(lag_bytes or 0) / 2**20:,.0f} MiB of the log and {lag_s or 0.0:,.0f} s behind"
            yield SeenReplica(name, f"replica {name!r} is {behind}" if is_behind else "", lag_bytes, lag_s)
        for name, at_s in list(self._seen_at.items()):
            if now_s - at_s > GONE_S:
                del self._seen_at[name]
            elif name not in connected:
                yield SeenReplica(name, f"replica {name!r} has left its primary: see its server's log", None, None)


def _of_reading(place: ReadingPlace) -> SeenReplica:
    found = place.ask()
    lag_s = found.standing.lag_s if found.standing else None
    error = found.error
    if not error and found.standing is not None and (lag_s is None or lag_s > LAG_S_WARN):
        error = f"replica at {found.place!r} is behind its primary: {found.standing.text()}"
    return SeenReplica(found.place, error, None, lag_s)
