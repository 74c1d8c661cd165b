"""Observer: learn what conditions cannot read from memory, and look at all conditions every other second.

Owns how often the disk and the database are asked. It delays no frame: the disk is asked on a thread, and the database
over the pool, while it is there.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time

from ingest.errors import StoreError
from ingest.live.ingestion import Ingestion
from ingest.live.observe.conditions import Backlog
from ingest.live.observe.health import GAP_REPAIR, conditions
from ingest.live.observe.replicas import Replicas
from ingest.market.time import day_span, market_day

log = logging.getLogger(__name__)

LOOK_S = 2.0
DISK_S = 5.0
DATABASE_S = 30.0


class Observer:
    """What looks at one ingestion while it runs."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion
        self._replicas = Replicas.of(ingestion.streams[0].settings, ingestion.questions)
        self._disk_at = self._database_at = -float("inf")  # when they were asked last, by the monotonic clock

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Ask what is due, and note since when each condition has lasted."""
        now_s = time.monotonic()
        if now_s - self._disk_at >= DISK_S:
            self._disk_at = now_s
            await asyncio.to_thread(ask_disk, self._ingestion)
        if now_s - self._database_at >= DATABASE_S:
            self._database_at = now_s
            await self.ask_database()
            await self.ask_replicas()
        conditions(self._ingestion)

    async def ask_database(self) -> None:
        """Ask what is left to repair today; without an answer nothing changes."""
        ingestion = self._ingestion
        at = ingestion.watchdog.market_time()
        if at is None:
            return
        given = {
            "collector": ingestion.streams[0].settings.collector,
            "start": day_span(market_day(at))[0],
            "end": at,
            "repaired_by": at - GAP_REPAIR,
        }
        try:
            (row,) = await ingestion.questions.rows("live/backlog", given)
        except StoreError as exc:
            log.debug("backlog not seen error=%s", exc)
        else:
            ingestion.facts.backlog = Backlog(*row)

    async def ask_replicas(self) -> None:
        """Ask how far the replicas are; while the primary does not answer, nothing changes."""
        try:
            self._ingestion.facts.replicas = await self._replicas.look()
        except StoreError as exc:
            log.debug("replicas not seen error=%s", exc)


def ask_disk(ingestion: Ingestion) -> None:
    """Ask how much room the journal's disk has, and how much of the journal is not read yet; it may block."""
    facts, streams = ingestion.facts, ingestion.streams
    folder = streams[0].settings.journal_folder
    try:
        facts.journal_free_bytes = shutil.disk_usage(folder).free
        facts.backlog_bytes = {stream.name: stream.waiting_bytes() for stream in streams}
    except OSError as exc:  # the writer says so itself as soon as it writes
        log.debug("disk not seen folder=%r error=%s", str(folder), exc)
        facts.journal_free_bytes = None
