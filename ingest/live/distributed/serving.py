"""Serving: the server and the publisher of this process's journal, as the settings say, and whether writers read it."""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.addresses import is_loopback
from ingest.errors import ConfigError
from ingest.live.access import JOURNAL_TOKEN_FILE, made_tokens, warn_if_shared, why_refused
from ingest.live.stream import Stream
from ingest.settings import Settings

if TYPE_CHECKING:
    from ingest.transport.assignment import Assignee
    from ingest.transport.broker.link import BrokerSettings
    from ingest.transport.broker.publisher import Publisher
    from ingest.transport.cursor import Cursor
    from ingest.transport.server import JournalServer, Refusal

PORT = 8791  # of a collector, beside those of the simulator, the status and the page
READ_WITHIN_S = 30.0  # a writer takes over within seconds; longer, and none runs


def journal_server(
    settings: Settings, streams: Sequence[Stream], cursor: Cursor | None, assignee: Assignee | None = None
) -> JournalServer | None:
    """Return the server of the streams' journals, not started; None: the settings want none.

    Parameters
    ----------
    settings
        Where, with which certificate, and the home with the token.
    streams
        The streams.
    cursor
        Where the committed end is noted; None: this process commits its journal itself.
    assignee
        Takes the keys that writers give; None: nobody asks for them here.

    Raises
    ------
    ConfigError
        If the token or the certificate cannot be used.
    """
    port = settings.journal_port
    if port is None:
        port = 0 if cursor is None else PORT
        if not port:
            return None
    elif not port:
        return None
    serving = importlib.import_module("ingest.transport.server")  # aiohttp's server; most recorders need none
    tokens, local = made_tokens(settings.home, JOURNAL_TOKEN_FILE), is_loopback(settings.journal_host)

    def guard(method: str, headers: Mapping[str, str]) -> Refusal | None:
        lower = {name.lower(): value for name, value in headers.items()}
        return why_refused(method, lower, tokens, is_local=local)

    journals = {stream.name: stream.feed.write_queue.journal for stream in streams}
    server: JournalServer = serving.JournalServer(
        serving.ServedJournal(settings.collector, journals),
        cursor,
        host=settings.journal_host,
        port=port,
        guard=guard,
        tls=server_tls(settings.journal_tls_certificate, settings.journal_tls_key),
        **_more(assignee),
    )
    for journal in journals.values():
        journal.when_synced = server.moved
    return server


def may_be_given_keys(settings: Settings) -> bool:
    """Tell whether writers reach a collector with these settings: by its server, or through the broker."""
    return settings.journal_port != 0 or settings.publish


def _more(assignee: Assignee | None) -> dict[str, Any]:
    """Return what the server has besides the journal."""
    if assignee is None:
        return {}
    return {"more": importlib.import_module("ingest.transport.assignment").routes_of(assignee)}


def journal_publisher(
    settings: Settings, streams: Sequence[Stream], cursor: Cursor | None, assignee: Assignee | None = None
) -> Publisher | None:
    """Return the publisher of a collector's journals, not started; None: the settings want none.

    `assignee` takes the keys that writers give; None: nobody asks for them here.

    Raises
    ------
    ConfigError
        If the broker's settings cannot be used, or its library is not installed.
    """
    if not settings.publish or cursor is None:
        return None
    broker = broker_of(settings)
    publishing = importlib.import_module("ingest.transport.broker.publisher")
    served = importlib.import_module("ingest.transport.served_journal")
    journals = {stream.name: stream.feed.write_queue.journal for stream in streams}
    published = served.ServedJournal(settings.collector, journals)
    publisher: Publisher = publishing.Publisher(published, cursor, broker, assignee)
    for journal in journals.values():
        journal.when_synced = partial(_both, journal.when_synced, publisher.moved)
    return publisher


def broker_of(settings: Settings) -> BrokerSettings:
    """Return where the broker of the settings is; raises as `journal_publisher` does."""
    link = importlib.import_module("ingest.transport.broker.link")  # the library takes a tenth of a second
    url = settings.nats_url.get_secret_value() if settings.nats_url else None
    broker: BrokerSettings = link.BrokerSettings.of(
        url, settings.nats_ca, settings.nats_replicas, settings.nats_bytes_max
    )
    return broker


def _both(one: Callable[[], None], other: Callable[[], None]) -> None:
    one()
    other()


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the TLS context of a certificate and its key, PEM files; None: there is none. Raises ConfigError."""
    if certificate is None:
        if key is not None:
            raise ConfigError(f"TICKLINE_JOURNAL_TLS_KEY={str(key)!r} has no certificate: set that too, or neither")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"certificate {str(certificate)!r} with key {str(key or certificate)!r} cannot be used: "
            f"{exc.strerror or exc}: see TICKLINE_JOURNAL_TLS_CERTIFICATE and TICKLINE_JOURNAL_TLS_KEY"
        ) from exc
    warn_if_shared(key or certificate)
    return context


def unread_s(server: JournalServer, stream: str, began_s: float) -> float:
    """Return for how long no writer has read a stream or told its committed end, seconds.

    `began_s` is when the process began to serve, by the monotonic clock.
    """
    now_s = time.monotonic()
    told_s = server.cursor.told_age_s() if server.cursor is not None else None
    ages = [now_s - began_s, now_s - server.counts.read_s.get(stream, 0.0)]
    return min([*ages, *([] if told_s is None else [told_s])])
