"""Checks of collectors elsewhere, as a writer sees them: reached, believed, told, committed, and their clocks."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import psycopg

from ingest.addresses import is_loopback
from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.doctor.findings import State, failure, fine, of_clock, warning
from ingest.doctor.installation import Installation, NotCheckedError
from ingest.errors import TicklineError
from ingest.journal.format import VERSIONS_READ
from ingest.model.records import Position, order_of
from ingest.settings import Settings
from ingest.transport.http_collector import HttpCollector, address_of
from ingest.transport.segments import Listing, SegmentInfo
from ingest.transport.trust import client_context

ANSWER_S = 6.0
SKEW_S_MAX = 60.0  # `received_at` is the collector's time
WAITING_BYTES = 64 * 2**20  # a minute of full market data; a writer that runs is seconds behind
SOON = timedelta(days=30)  # before a certificate ends
JOURNAL_TOKEN_FILE = "journal-token"  # noqa: S105  of a collector with the same home

Lines = Iterator[tuple[State, str, str]]


def check_collectors(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check each collector that was named; nothing is changed, here or there."""
    for source in installation.collectors:
        if not (url := address_of(source)):
            yield warning(f"{source} has no address: only the broker was asked", f"name it as {source}=https://…")
            continue
        try:
            yield from _check(installation, url)
        except TicklineError as exc:
            text, _, remedy = str(exc).rpartition(": ")
            yield failure(text, remedy)


def _check(installation: Installation, url: str) -> Lines:
    config = installation.settings
    listing, date, is_taken, asked_at = asyncio.run(_ask(installation, url))
    name = listing.collector
    yield from _of_certificate(config, name, url, installation.now())
    if is_taken:
        yield fine(f"{name} takes the token")
    else:
        yield warning(
            f"{name} does not take the token, so it is not told what is committed, and deletes nothing",
            "set TICKLINE_COLLECTOR_TOKEN to what its journal-token holds",
        )
    yield from _of_clock(name, date, asked_at)
    newer = {one.version for segments in listing.streams.values() for one in segments} - {0, *VERSIONS_READ}
    if newer:
        yield failure(f"{name} writes version {max(newer)} of the journal's format", "install a newer tickline here")
    try:
        yield from _of_ledger(installation, listing)
    except NotCheckedError as exc:
        yield warning(f"{name}: what is committed was not compared: {exc}")


async def _ask(installation: Installation, url: str) -> tuple[Listing, str, bool, datetime]:
    """Return its list, the date of the answer, whether it takes our token, and our own time of the answer."""
    config = installation.settings
    token = config.collector_token.get_secret_value() if config.collector_token else None
    if not token and is_loopback(urlsplit(url).hostname or ""):
        token = installation.stored_token(JOURNAL_TOKEN_FILE)
    async with asyncio.timeout(2 * ANSWER_S), HttpCollector(url, token, config.collector_ca) as collector:
        began = installation.now()
        listing, date = await collector.dated_streams()
        middle = began + (installation.now() - began) / 2
        return listing, date, token is not None and await collector.takes_token(), middle


def _of_certificate(config: Settings, name: str, url: str, now: datetime) -> Lines:
    """Say how the connection is encrypted, and until when."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        yield fine(f"{name} answers at {url}, unencrypted within this machine")
        return
    context = client_context(config.collector_ca, "TICKLINE_COLLECTOR_CA")
    host = parts.hostname or ""
    try:
        with (
            socket.create_connection((host, parts.port or 443), timeout=ANSWER_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            version, certificate = encrypted.version(), encrypted.getpeercert() or {}
    except OSError as exc:
        yield warning(f"{name} at {url} did not show its certificate again: {exc}", "try again")
        return
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    said = f"{name} answers at {url} with {version}; its certificate ends on {ends:%Y-%m-%d}"
    if ends - now < SOON:
        yield warning(said, "renew it there: TICKLINE_JOURNAL_TLS_CERTIFICATE")
    else:
        yield fine(said)


def _of_clock(name: str, date: str, asked_at: datetime) -> Lines:
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        yield warning(f"{name} does not say what time it is there", "is a proxy in between?")
        return
    # The date is cut to whole seconds: within one of them nobody can tell.
    ahead = (told.replace(tzinfo=told.tzinfo or UTC) - asked_at).total_seconds()
    ahead = 0.0 if -1 <= ahead <= 0 else ahead + 0.5
    remedy = "synchronise both clocks: `timedatectl set-ntp true`"
    yield of_clock(f"{name} is ", ahead, "this machine", remedy, s_max=SKEW_S_MAX)


def _of_ledger(installation: Installation, listing: Listing) -> Lines:
    """Say how much of each stream is not committed."""
    waiting: dict[str, int] = {}
    with translated(), installation.database.connect(autocommit=True) as connection:
        for stream, segments in listing.streams.items():
            waiting[stream] = _waiting(_committed(connection, listing.collector, stream), segments)
    name, total = listing.collector, sum(waiting.values())
    if total > WAITING_BYTES:
        worst = max(waiting, key=waiting.__getitem__)
        yield warning(
            f"{name}: {total:,} bytes of its journal are not committed, most in stream {worst}",
            "start `tickline write`, or see `tickline status writer` where it runs",
        )
    else:
        yield fine(f"{name}: {len(waiting)} streams, {total:,} bytes not committed")


def _committed(connection: psycopg.Connection[Any], collector: str, stream: str) -> Position | None:
    row = connection.execute(query("ledger/committed_position"), {"collector": collector, "stream": stream}).fetchone()
    return Position(row[0], row[1]) if row else None


def _waiting(committed: Position | None, segments: Iterable[SegmentInfo]) -> int:
    """Return the bytes of segments that lie behind a position."""
    total = 0
    for one in segments:
        if committed is None or order_of(one.name) > order_of(committed.segment):
            total += one.size
        elif one.name == committed.segment:
            total += max(one.size - committed.offset, 0)
    return total
