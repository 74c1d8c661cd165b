"""Replay: recordings and journal segments through the path of live ingestion, then exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ingest.config import Settings
from ingest.consumer import Consumer
from ingest.freshness import refresh_touched
from ingest.journal import order_of
from ingest.journal_reader import JournalReader
from ingest.line import limits_of
from ingest.patient_writer import PatientWriter
from ingest.sources import JournalSource, RecordingSource, Source, is_segment, name_in_header, read_segment_header
from ingest.supervisor import Progress, first_error, patient_writer, show_along
from ingest.writer import Writer


async def replay(
    settings: Settings,
    url: str,
    paths: Sequence[Path],
    *,
    collector: str = "recording",
    show: Callable[[Progress], None] = lambda _: None,
    done: Callable[[Consumer], None] = lambda _: None,
) -> None:
    """Write what recordings and journal segments hold and the ledger does not have yet.

    All files of a collector go through one connection.

    Parameters
    ----------
    settings, url
        How to behave, and the database.
    paths
        Recordings (`.frames.gz`) and segments, in any order.
    collector
        Ledger name of recordings; segments go under the collector and stream of their header.
    show, done
        Called about once a second, and with each stream when it has ended, well or not.

    Raises
    ------
    CorruptionError
        If a recording is cut short, after all that is good in it has been committed.
    JournalError
        If a file cannot be read, or is not the one that was replayed before under its name.
    StoreError
        If the database cannot be written.
    """
    for name, sources in groupby(_sources(paths, collector), key=lambda one: one.collector):
        with patient_writer(Writer(url, name), settings) as patient:
            await asyncio.to_thread(patient.writer.reconnect)
            for one in sources:
                try:
                    consumer = _consumer(one, patient, settings)
                    try:
                        await _show_while(consumer, show)
                    finally:
                        done(consumer)
                        await asyncio.to_thread(refresh_touched, url, ended=name)
                finally:
                    one.source.close()
                if isinstance(one.source, RecordingSource) and one.source.error:
                    raise one.source.error


class _Stream(NamedTuple):
    """What is replayed under one name of the ledger."""

    collector: str
    stream: str
    source: Source


def _consumer(one: _Stream, patient: PatientWriter, settings: Settings) -> Consumer:
    """Return the consumer of a stream, at the place where its ledger ends."""
    resume = patient.writer.resume(one.stream)
    if isinstance(one.source, RecordingSource):
        one.source.expect(patient.writer.digests(one.stream))
    consumer = Consumer(one.source, patient, one.stream, limits_of(settings))
    consumer.resume(resume.from_start())
    return consumer


async def _show_while(consumer: Consumer, show: Callable[[Progress], None]) -> None:
    progress = Progress(consumer)
    try:
        async with asyncio.TaskGroup() as group:
            showing = group.create_task(show_along(progress, show))
            await consumer.run()
            showing.cancel()
    except BaseExceptionGroup as group_error:
        raise first_error(group_error) from group_error
    show(progress)


def _sources(paths: Sequence[Path], collector: str) -> list[_Stream]:
    """Return what is replayed, collector by collector: each recording, and each stream of segments."""
    sources: list[_Stream] = []
    streams: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        if is_segment(path):
            streams.setdefault(read_segment_header(path), []).append(path)
        else:
            recording = RecordingSource(path)
            sources.append(_Stream(collector, recording.segment, recording))
    for (name, stream), segments in sorted(streams.items()):
        ordered = sorted(segments, key=lambda path: order_of(name_in_header(path)))
        reader = JournalReader(_listing(ordered), follow=False, name_of=cache(name_in_header))
        sources.append(_Stream(name, stream, JournalSource(reader)))
    return sources


def _listing(paths: list[Path]) -> Callable[[], list[Path]]:
    return lambda: paths
