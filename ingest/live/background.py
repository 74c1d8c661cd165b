"""Background tasks of a recording: follow the universe, refresh bars, repair bars.

The supervisor starts each as a task. A failure here costs freshness or bars, never ticks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ingest.database.pool import Pool
from ingest.errors import FeedError, StoreError
from ingest.last_error import LastError
from ingest.live.ingestion import Ingestion
from ingest.live.stream import Stream
from ingest.market.time import utc_of_ms
from ingest.repair.backfill import Backfill, BackfillScheduler
from ingest.repair.backfill_store import Store
from ingest.settings import Settings
from ingest.store.bar_refresh import refresh_touched
from ingest.store.retrying_writer import RetryingWriter
from ingest.universe.keeper import UniverseKeeper, follow

log = logging.getLogger(__name__)

AWAY_POLL_S = 1.0
REFRESH_S = 60  # once per bar; newer bars are computed from ticks when read


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


async def backfill_along(
    settings: Settings, pool: Pool, streams: Sequence[Stream], writer: RetryingWriter, error: LastError
) -> None:
    """Repair incompletely received minutes while the feed continues; a failure costs bars, never ticks."""
    scheduler = BackfillScheduler(Backfill(streams[0].feed.api, Store(pool)))
    while settings.backfill_s:
        await asyncio.sleep(settings.backfill_s)
        last_ms = max(stream.consumer.state.break_detector.last_ms for stream in streams)
        if not last_ms or writer.is_away:
            continue
        try:
            repair = await scheduler.round(utc_of_ms(last_ms))
        except (FeedError, StoreError) as exc:
            log.warning("bars not repaired, trying again in_s=%g error=%s", settings.backfill_s, exc)
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


async def refresh_along(pool: Pool, writer: RetryingWriter, error: LastError) -> None:
    """Keep the bars up to date while ticks arrive, beginning with those that an earlier run left.

    A failure costs freshness, never ticks. While the writer finds the database away, no bars are refreshed.
    """
    while True:
        if writer.is_away:
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
