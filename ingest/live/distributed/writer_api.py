"""HTTP API of `tickline write`: what it writes, whether all goes well, and metrics. It changes nothing.

The guard, the limits and the form of refusals are those of the recording's API. Loaded when somebody first connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import uvicorn
from prometheus_client.core import Metric

from ingest.live.access import Tokens
from ingest.live.distributed.writing import Writing
from ingest.live.http.api import server_of
from ingest.live.http.metrics import encoded
from ingest.live.http.routes import Request, Response, Routes, answered
from ingest.live.observe.metrics import counter, gauge, histogram

STATUS = "/api/v1/writer"


def prepare(running: Writing, host: str, tokens: Tokens) -> uvicorn.Server:
    """Return a server that is ready to serve a socket."""
    routes = Routes()

    @routes.add("GET", "/health")
    async def health(_: Request) -> Response:
        problems, warnings = running.problems(), running.warnings()
        found = {"status": "unhealthy" if problems else "healthy", "problems": problems, "warnings": warnings}
        return answered(found, status=503 if problems else 200)

    @routes.add("GET", "/health/live")
    async def live(_: Request) -> Response:
        return answered({"status": "alive"})

    @routes.add("GET", "/health/ready")
    async def ready(_: Request) -> Response:
        reasons = running.problems()
        found = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        return answered(found, status=503 if reasons else 200)

    @routes.add("GET", STATUS)
    async def status(_: Request) -> Response:
        return answered(running.account())

    @routes.add("GET", "/metrics")
    async def metrics(request: Request) -> Response:
        body, form = await asyncio.to_thread(encoded, list(_metrics(running)), request.headers.get("accept", ""))
        return Response(body, media_type=form)

    return server_of(routes, host, tokens)


def _metrics(running: Writing) -> Iterator[Metric]:
    names, of_stream = ["collector"], ["collector", "connection"]
    collectors = [({"collector": one.collector or one.source.name}, one) for one in running.collectors]
    streams = [(of | {"connection": name}, stream) for of, one in collectors for name, stream in one.streams.items()]
    text = "Whether this process writes the collector."
    yield gauge("tickline_writer_writes", text, [(of, float(one.state == "writing")) for of, one in collectors], names)
    text = "How often this process has begun to write the collector."
    yield counter("tickline_writer_takeovers", text, [(of, float(one.takeovers)) for of, one in collectors], names)
    text = "Ticks of the collector that this process has committed."
    yield counter("tickline_writer_ticks", text, [(of, float(one.written()[0])) for of, one in collectors], names)
    text = "Bytes of the collector's journal that are not committed."
    lag = [(of, float(stream.source.left_bytes())) for of, stream in streams]
    yield gauge("tickline_writer_lag_bytes", text, lag, of_stream)
    text = "Bytes that were skipped because they are damaged where they are stored."
    damaged = [(of, float(stream.source.corrupt_bytes)) for of, stream in streams]
    yield counter("tickline_writer_damaged_bytes", text, damaged, of_stream)
    text = "From the receipt of each tick to its commit."
    delays = [(of, stream.consumer.delays) for of, stream in streams]
    yield histogram("tickline_received_to_committed_seconds", text, delays, of_stream)
    text = "Whether this process does what is done once per database."
    yield gauge("tickline_writer_does_once", text, [({}, float(running.once.is_held))])
    if (assigning := running.once.assigning) is None:
        return
    members = [({"collector": member.name}, member) for member in assigning.members if member.name]
    text = "Keys that the collector records, as far as this process knows."
    yield gauge("tickline_collector_keys", text, [(of, float(len(one.keys))) for of, one in members], names)
    text = "Whether the keys of the collector go to others; known to who does what is done once."
    yield gauge("tickline_collector_lost", text, [(of, float(bool(one.lost))) for of, one in members], names)
    text = "Keys of the universe for which no collector has room; known to who does what is done once."
    yield gauge("tickline_keys_without_room", text, [({}, float(len(assigning.plan.left_out)))])
