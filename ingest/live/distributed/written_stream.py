"""Written stream: one stream of a collector elsewhere, from its segments to committed batches.

    SegmentSource ──► RemoteSource ──records──► consumer ──batches──► the collector's leased writer

The consumer, and all behind it, is that of `start`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ingest.errors import JournalError
from ingest.model.records import Position
from ingest.pipeline.consumer import Consumer, limits_of
from ingest.settings import Settings
from ingest.store.retrying_writer import RetryingWriter
from ingest.transport.remote_source import RemoteSource
from ingest.transport.segments import SegmentSource

log = logging.getLogger(__name__)


class WrittenStream:
    """One stream while this process writes it.

    Parameters
    ----------
    name
        Of the stream.
    settings
        Limits of the consumer.
    writer
        The writer of its collector.
    source
        Where its segments are.

    Attributes
    ----------
    refused
        Why this program leaves the stream alone; "": it does not.
    """

    def __init__(self, name: str, settings: Settings, writer: RetryingWriter, source: SegmentSource) -> None:
        self.name = name
        self.refused = ""
        collector = writer.writer.collector
        self.source = RemoteSource(collector, name, source, self._arrived)
        self.consumer = Consumer(self.source, writer, name, limits_of(settings))
        self._stopping = asyncio.Event()

    def _arrived(self) -> None:
        self.consumer.arrived.set()

    @property
    def committed(self) -> Position | None:
        """Where the ledger ends."""
        return self.consumer.committed

    def stop(self) -> None:
        """Fetch no more; `run` ends when what was fetched is committed."""
        self._stopping.set()

    async def run(self) -> None:
        """Write until `stop`; a stream that this program cannot read is left alone, and said.

        Raises
        ------
        LeaseLostError
            If another process may write it.
        LedgerBehindError
            If the database has lost committed batches.
        """
        writer = self.consumer.writer
        resume = await writer.run(writer.resume, self.name)
        self.source.seek(resume.checkpoint)
        self.consumer.resume(resume)
        fetching = asyncio.create_task(self._fetch(), name=f"fetch {self.name}")
        try:
            await self.consumer.run()
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
            await self.consumer.leave()
        if self.refused:
            await self._stopping.wait()

    async def _fetch(self) -> None:
        fetching = asyncio.create_task(self.source.run())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({fetching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
        except JournalError as exc:  # of a newer program, or of another collector
            self.refused = str(exc)
            log.error(
                "stream is left alone, others go on collector=%s stream=%s error=%s",
                self.consumer.writer.writer.collector,
                self.name,
                exc,
            )
        except Exception as exc:
            self.refused = f"{type(exc).__name__}: {exc}"
            log.exception("stream is left alone, others go on stream=%s", self.name)
        finally:
            fetching.cancel()
            stopping.cancel()
            self.source.stop()

    def account(self) -> dict[str, Any]:
        """Return its state and counters, for the status."""
        counts, committed = self.consumer.counts, self.committed
        return {
            "committed": f"{committed.segment}:{committed.offset}" if committed else None,
            "lag_bytes": self.source.left_bytes(),
            "error": self.refused or self.source.error or None,
            "corrupt_bytes": self.source.corrupt_bytes,
            "frames": counts.frames,
            "ticks": counts.ticks,
            "rejected": counts.rejected,
            "duplicates": counts.duplicates,
            "quarantined": counts.quarantined,
        }
