"""Background tasks of a recording: follow the universe, refresh bars, repair bars, watch the database's jobs.

The supervisor starts each as a task. A failure here costs freshness or bars, never ticks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

from ingest.database.operations.jobs import JobStatus, jobs_of
from ingest.database.pool import Pool
from ingest.errors import FeedError, StoreError, TicklineError
from ingest.last_error import LastError, LastErrors
from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.market.time import utc_of_ms
from ingest.repair.backfill import Backfill, BackfillScheduler
from ingest.settings import Settings
from ingest.store.bar_refresh import refresh_touched
from ingest.universe.keeper import UniverseKeeper, follow
from ingest.universe.key_file import keys_without_database

log = logging.getLogger(__name__)

AWAY_POLL_S = 1.0
REFRESH_S = 60  # once per bar; newer bars are computed from ticks when read
JOBS_S = 60  # a job that failed is tried again after minutes


class Database(Protocol):
    """Who knows whether the database is away, such as a writer."""

    @property
    def is_away(self) -> bool:
        """Whether it is away, as far as is known."""


def newest_tick(streams: Sequence[Stream]) -> datetime | None:
    """Return the time that the streams have reached; None: they have none yet."""
    last_ms = max(stream.consumer.state.break_detector.last_ms for stream in streams)
    return utc_of_ms(last_ms) if last_ms else None


async def market_time(streams: Sequence[Stream], pool: Pool) -> datetime | None:
    """Return the time that the streams have reached, or other processes on the database; None: these have none yet.

    Raises StoreError.
    """
    if (reached := newest_tick(streams)) is None:
        return None
    committed: list[datetime] = [at for (at,) in await pool.rows("lease/newest_commit", {}) if at is not None]
    return max(reached, *committed)


async def follow_along(settings: Settings, keeper: UniverseKeeper, ingestion: Ingestion) -> None:
    """Subscribe and unsubscribe as the universe changes; after a new list, ask again what keys mean."""
    await follow(
        keeper,
        ingestion.follow,
        ingestion.streams[0].feed.api,
        every_s=settings.universe_follow_s,
        pool=ingestion.questions.pool,
        is_away=lambda: ingestion.writer.is_away,
        listed=ingestion.ask_names_again,
    )


async def follow_file_along(settings: Settings, ingestion: Ingestion, error: LastError) -> None:
    """Subscribe and unsubscribe as the file of the universe changes; a file that is wrong changes nothing."""
    read: Any = None
    while True:
        await asyncio.sleep(settings.universe_follow_s)
        try:
            assert settings.universe_file is not None
            stat = settings.universe_file.stat()
            if read == (read := (stat.st_mtime_ns, stat.st_size, stat.st_ino)):
                continue
            ingestion.follow(await asyncio.to_thread(keys_without_database, settings))
        except (TicklineError, OSError) as exc:
            if str(exc) != error.text:
                log.error("keys are recorded as before, the file of the universe cannot be used error=%s", exc)
            error.happened(exc)
        else:
            error.over()


async def backfill_along(
    backfill: Backfill,
    market_time: Callable[[], Awaitable[datetime | None]],
    database: Database,
    error: LastError,
    *,
    every_s: float,
) -> None:
    """Repair incompletely received minutes while the feed continues; a failure costs bars, never ticks."""
    scheduler = BackfillScheduler(backfill)
    while every_s:
        await asyncio.sleep(every_s)
        if database.is_away:
            continue
        try:
            at = await market_time()
            repair = await scheduler.round(at) if at is not None else None
        except (FeedError, StoreError) as exc:
            log.warning("bars not repaired, trying again in_s=%g error=%s", every_s, exc)
            error.happened(exc)
            continue
        error.over()
        if repair is not None:
            log.info(
                "bars repaired minutes=%d bars=%d gaps=%d requests=%d left_instruments=%d",
                repair.repaired,
                repair.added,
                repair.gaps,
                repair.requests,
                len(repair.left),
            )


async def refresh_along(pool: Pool, database: Database, error: LastError) -> None:
    """Keep the bars up to date while ticks arrive, beginning with those that an earlier run left.

    A failure costs freshness, never ticks. While the database is known to be away, no bars are refreshed.
    """
    while True:
        if database.is_away:
            await asyncio.sleep(AWAY_POLL_S)
            continue
        try:
            await refresh_touched(pool)
        except StoreError as exc:
            log.warning("bars not refreshed, trying again in_s=%d error=%s", REFRESH_S, exc)
            error.happened(exc)
        else:
            error.over()
        await asyncio.sleep(REFRESH_S)


async def watch_jobs_along(pool: Pool, database: Database, errors: LastErrors) -> None:
    """Report the failures of the database's own jobs; each is an error of its own until the job succeeds."""
    failed: dict[str, datetime | None] = {}
    try:
        await _watch_jobs(pool, database, errors, failed)
    finally:  # perhaps another process watches them now
        note_jobs([], failed, errors)


async def _watch_jobs(pool: Pool, database: Database, errors: LastErrors, failed: dict[str, datetime | None]) -> None:
    while True:
        if database.is_away:
            await asyncio.sleep(AWAY_POLL_S)
            continue
        try:
            jobs = await pool.on_thread(jobs_of)
        except StoreError as exc:
            log.warning("jobs of the database not seen, trying again in_s=%g error=%s", JOBS_S, exc)
            errors.of("database jobs").happened(exc)
        else:
            errors.of("database jobs").over()
            note_jobs(jobs, failed, errors)
        await asyncio.sleep(JOBS_S)


def note_jobs(jobs: Sequence[JobStatus], failed: dict[str, datetime | None], errors: LastErrors) -> None:
    """Record new failures of jobs, and which are over; `failed` has the jobs that fail, with the time of the error."""
    failing = {job.name: job for job in jobs if job.fails}
    for name, job in failing.items():
        if failed.get(name) != job.last_error_at:
            log.warning("job of the database failed job=%r error=%s", name, job.last_error)
            errors.of(name).happened(job.last_error)
            failed[name] = job.last_error_at
    for name in failed.keys() - failing.keys():  # it succeeded, or is gone
        errors.of(name).over()
        del failed[name]
