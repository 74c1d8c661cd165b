"""Link: the connection to the broker, its stream's settings, and the errors of its library in our words.

Importing this module raises ConfigError if the extra `nats` is not installed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ingest.errors import ConfigError
from ingest.transport.broker.blocks import stream_of, subject_of
from ingest.transport.broker.settings import BrokerSettings
from ingest.transport.segments import UnreachableError
from ingest.transport.trust import client_context, why_not_trusted

try:
    import nats.errors
    from nats.aio.client import Client
    from nats.js import api
    from nats.js import errors as js_errors
except ModuleNotFoundError as exc:
    raise ConfigError(
        "a broker needs the library 'nats-py', which is not installed: run `pip install 'tickline[nats]'`"
    ) from exc

__all__ = ["BrokerSettings", "Link", "api", "differences", "js_errors", "stream_config", "translated"]

log = logging.getLogger(__name__)

CONNECT_S, RECONNECT_S, ANSWER_S = 2.0, 0.2, 5.0
PING_S = 2.0  # a node that hangs is left for another one after three of these
CLOSE_S = 0.2  # of a connection that never was one: the library may wait for its end for ever
WRONG_SEQUENCE = 10071  # error code of the server: another message came in between
DUPLICATES_S = 120.0  # how long the broker knows message ids; a repetition after that is dropped by the reader
AUTHORITY = "TICKLINE_NATS_CA"


def _matters(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("returning true from eof_received()")


# Of each node that ends a connection over TLS; it means nothing.
logging.getLogger("asyncio").addFilter(_matters)


class _Client(Client):
    """The library's client, which gives nothing to a server that does not use TLS if it was told to use it."""

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        command: bytes = super()._connect_command()
        return command


class Link:
    """A connection that comes back by itself; open it in the loop that uses it.

    Parameters
    ----------
    settings
        Where.
    name
        Who we are, for the broker's own monitoring.

    Raises
    ------
    ConfigError
        If an address or the authority cannot be used.
    """

    def __init__(self, settings: BrokerSettings, name: str) -> None:
        settings.check()
        self.settings = settings
        self._name = name
        is_encrypted = any(url.startswith("tls://") for url in settings.urls)
        self._tls = client_context(settings.authority, AUTHORITY) if is_encrypted else None
        self._client: Any = None
        self._opening, self._said = asyncio.Lock(), ""
        self._refusal: Exception | None = None  # of the connection that is being opened again

    async def client(self) -> Any:
        """Return the connected client; connect if there is none. Raises UnreachableError."""
        async with self._opening:
            if self._client is None or self._client.is_closed:
                self._client = await self._connected()
            if not self._client.is_connected:
                raise UnreachableError(f"broker is away, and its connection is being opened again{self._why_away()}")
            self._refusal = None
            return self._client

    def _why_away(self) -> str:
        """Return what the last node said that refused us, as the end of a sentence."""
        if self._refusal is None:
            return ""
        try:
            with translated():
                raise self._refusal
        except UnreachableError as exc:
            return f": {exc}"

    async def _connected(self) -> Any:
        """Return a connected client; the library itself would try for ever, and say nothing."""
        errors: list[Exception] = []
        client, refusals, is_open = _Client(), 0, False

        async def note(error: Exception) -> None:
            nonlocal refusals
            if not errors or not isinstance(error, ConnectionError):  # a refusal is followed by a broken connection
                errors[:] = [error]
            self._refusal = error if is_refusal(error) else self._refusal
            if not is_open and is_refusal(error):
                refusals += 1
                # All have said no; or the library waits for the end of a connection that TLS has ended.
                if refusals >= len(self.settings.urls) or isinstance(error, ssl.SSLError):
                    raise error  # out of `connect`
            said = str(error)[:300]
            if "permissions violation" in said.lower() and said != self._said:  # it has no type
                self._said = said
                log.warning("broker does not allow our user what it needs: see its permissions there error=%s", said)

        options: dict[str, Any] = {  # its types say int for seconds
            "name": f"tickline {self._name}",
            "connect_timeout": CONNECT_S,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_S,
            "ping_interval": PING_S,
            "error_cb": note,
            "tls": self._tls,
            **self.settings.login(),
        }
        try:
            with translated():
                async with asyncio.timeout(CONNECT_S):
                    await client.connect(self.settings.places, **options)
            is_open = True
        except BaseException as exc:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await client.close()
            if isinstance(exc, UnreachableError) and errors:
                with translated():
                    raise errors[0] from None
            raise
        return client

    async def streams(self) -> Any:
        """Return the JetStream context. Raises UnreachableError."""
        return (await self.client()).jetstream(timeout=ANSWER_S)

    async def close(self) -> None:
        """Close the connection; the broker may hang."""
        if self._client is not None:
            with suppress(Exception):
                async with asyncio.timeout(1.0):
                    await self._client.close()
            self._client = None

    async def make_stream(self, collector: str) -> None:
        """Make the stream of a collector, or give it our settings. Raises UnreachableError, JournalError."""
        context, wanted = await self.streams(), stream_config(self.settings, collector)
        with translated():
            try:
                found = (await context.stream_info(wanted.name)).config
            except js_errors.NotFoundError:
                await context.add_stream(wanted)
                log.info("stream made at the broker stream=%s replicas=%d", wanted.name, wanted.num_replicas)
                return
            if (different := differences(found, wanted)) and found.storage == wanted.storage:
                await context.update_stream(wanted)
                log.info("settings of the stream at the broker changed stream=%s %s", wanted.name, different)


def stream_config(settings: BrokerSettings, collector: str) -> api.StreamConfig:
    """Return the settings of a collector's stream.

    A stream that is full refuses new blocks; what is committed is removed by the collector that published it.
    """
    return api.StreamConfig(
        name=stream_of(collector),
        description="Tickline journal blocks",
        subjects=[subject_of(collector, "*")],
        retention=api.RetentionPolicy.LIMITS,
        discard=api.DiscardPolicy.NEW,
        storage=api.StorageType.FILE,
        num_replicas=settings.replicas,
        max_bytes=settings.bytes_max,
        duplicate_window=DUPLICATES_S,
        allow_direct=False,  # the last message must be the leader's
    )


def differences(found: api.StreamConfig, wanted: api.StreamConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ: name -> (found, wanted)."""
    names = ("subjects", "retention", "discard", "storage", "num_replicas", "max_bytes", "max_age", "max_msgs")
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in names}
    unset = (None, 0, -1)
    return {
        name: (one, other)
        for name, (one, other) in pairs.items()
        if one != other and not (one in unset and other in unset)
    }


def _is_login(error: BaseException) -> bool:
    """Tell whether the broker does not take user and password; at the first message the error has no type."""
    return isinstance(error, nats.errors.AuthorizationError) or "Authorization Violation" in str(error)


def is_refusal(error: BaseException) -> bool:
    """Tell whether an error of connecting would come again: login, certificate or no TLS."""
    kinds = (nats.errors.SecureConnWantedError, ssl.SSLCertVerificationError)
    return isinstance(error, kinds) or _is_login(error)


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the library as UnreachableError, refusals that last as JournalError."""
    try:
        yield
    except js_errors.NotFoundError:
        raise  # the callers decide what it means
    except js_errors.APIError as exc:
        if exc.err_code == WRONG_SEQUENCE:
            raise
        raise UnreachableError(f"broker refuses: {exc.description or exc.code} ({exc.err_code})") from exc
    except js_errors.NoStreamResponseError as exc:
        raise UnreachableError("broker has no JetStream, or lost the stream: see `jetstream` in its settings") from exc
    except nats.errors.NoRespondersError as exc:
        raise UnreachableError(
            "nobody answers at the broker: does `tickline collect --publish` run there, and may its user hear "
            "'tick-committed' and 'tick-universe'?"
        ) from exc
    except nats.errors.SecureConnWantedError as exc:
        raise UnreachableError(
            "broker has no TLS at an address of tls://, and was told nothing: see `tls` in its settings"
        ) from exc
    except (nats.errors.Error, OSError, TimeoutError, ssl.SSLError, EOFError) as exc:
        said = str(exc) or type(exc).__name__
        if _is_login(exc):
            raise UnreachableError("broker refuses the login: correct the user in TICKLINE_NATS_URL") from exc
        if why := why_not_trusted(exc, AUTHORITY):
            raise UnreachableError(f"broker is not asked: {why}") from exc
        raise UnreachableError(f"broker does not answer: {said[:200]}") from exc
