"""Route of the metrics, for Prometheus and whatever reads its formats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from ingest.live.http.routes import Request, Response, Routes
from ingest.live.ingestion import Ingestion
from ingest.live.observe.metrics import Recording
from ingest.live.observe.observer import ask_disk

log = logging.getLogger(__name__)


def add_metrics(routes: Routes, ingestion: Ingestion) -> None:
    """Add `GET /metrics`: the recording's metrics, and those of the process and of users' code."""
    recording = Recording(ingestion)

    @routes.add("GET", "/metrics")
    async def _metrics(request: Request) -> Response:
        await asyncio.to_thread(ask_disk, ingestion)
        ours = list(recording.collect())
        body, form = await asyncio.to_thread(encoded, ours, request.headers.get("accept", ""))
        return Response(body, media_type=form)


class _Together:
    """Metrics in the form of a registry, which encoders ask."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def encoded(ours: list[Metric], accept: str) -> tuple[bytes, str]:
    """Return the body and its type, with the metrics of the process and of users' code.

    Call it on a thread, because a user's collector may take its time, or fail.
    """
    encode, form = choose_encoder(accept)
    try:
        return encode(_Together([*ours, *REGISTRY.collect()])), form
    except Exception as exc:  # whatever a user's own collector raises; ours must not be lost with it
        log.warning("metrics of other collectors are left out: one failed error=%r", exc)
        return encode(_Together(ours)), form
