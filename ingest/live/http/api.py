"""HTTP API: all its routes, and their server; the guard decides who may ask.

`port` imports this module when somebody first connects. Requests are answered on the event loop between two
batches; the hot path never waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn

from ingest.live.access import Tokens
from ingest.live.broadcast.hub import Hub
from ingest.live.http.data_routes import add_data
from ingest.live.http.documentation import add_documentation
from ingest.live.http.feed_routes import add_feed
from ingest.live.http.guard import Guard
from ingest.live.http.health_routes import add_health
from ingest.live.http.metrics import add_metrics
from ingest.live.http.protocol import limits
from ingest.live.http.routes import Routes
from ingest.live.http.stream_routes import add_stream
from ingest.live.ingestion import Ingestion


def recording_routes(ingestion: Ingestion, hub: Hub) -> Routes:
    """Return the routes of a running ingestion, which they show and change, and of the hub's event stream."""
    routes = Routes()
    add_health(routes, ingestion)
    add_feed(routes, ingestion)
    add_data(routes, ingestion)
    add_stream(routes, ingestion, hub)
    add_metrics(routes, ingestion)
    add_documentation(routes)
    return routes


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the supervisor."""
        yield


def prepare(ingestion: Ingestion, hub: Hub, tokens: Tokens) -> uvicorn.Server:
    """Return a server that is ready to serve a socket."""
    return server_of(recording_routes(ingestion, hub), ingestion.streams[0].settings.api_host, tokens)


def server_of(routes: Routes, host: str, tokens: Tokens) -> uvicorn.Server:
    """Return a server of an API that is bound to a host, with the guard and the limits of all our APIs."""
    guard = Guard(routes, host=host, tokens=tokens)
    config = uvicorn.Config(guard, log_config=None, access_log=False, lifespan="off", ws="none", **limits())
    config.load()
    return _Server(config)
