"""HTTP API: all its routes as one application; the guard decides who may ask.

`port` imports this module when somebody first connects. Requests are answered on the event loop between two
batches; the hot path never waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from ingest.live.access import Tokens
from ingest.live.broadcast.hub import Hub
from ingest.live.http.data_routes import add_data
from ingest.live.http.documentation import add_documentation
from ingest.live.http.feed_routes import add_feed
from ingest.live.http.guard import Guard, say_errors
from ingest.live.http.health_routes import add_health
from ingest.live.http.metrics import add_metrics
from ingest.live.http.protocol import limits
from ingest.live.http.stream_routes import add_stream
from ingest.live.ingestion import Ingestion


def make_app(ingestion: Ingestion, hub: Hub, host: str, tokens: Tokens) -> FastAPI:
    """Return the FastAPI application.

    Parameters
    ----------
    ingestion
        Running ingestion to show and change.
    hub
        Makes the events of the stream.
    host, token
        Host that it is bound to, and the token for requests that change something.
    """
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, host=host, tokens=tokens)
    say_errors(app)
    add_health(app, ingestion)
    add_feed(app, ingestion)
    add_data(app, ingestion)
    add_stream(app, ingestion, hub)
    add_metrics(app, ingestion)
    add_documentation(app)
    return app


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the supervisor."""
        yield


def prepare(ingestion: Ingestion, hub: Hub, tokens: Tokens) -> uvicorn.Server:
    """Return a server that is ready to serve a socket."""
    return server_of(make_app(ingestion, hub, ingestion.streams[0].settings.api_host, tokens))


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return a server of an application, with the limits of all our APIs."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", **limits())
    config.load()
    return _Server(config)
