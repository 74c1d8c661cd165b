"""Checks of the broker: that it answers, that our streams have our settings and room, and when it syncs."""

from __future__ import annotations

import asyncio
import importlib
import json
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ingest.doctor.findings import State, fine, warning
from ingest.doctor.installation import Installation

if TYPE_CHECKING:
    from ingest.transport.broker.link import BrokerSettings

ANSWER_S = 5.0
ROOM_SHARE = 0.8  # of a stream's room
SYNC = "set `sync_interval: always` in the jetstream block of the server's settings, and restart it"
UNSEEN = "open the server's monitoring (`http: 127.0.0.1:8222`) and name it in TICKLINE_NATS_MONITOR_URL"


def check_broker(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the broker, if there is one; nothing is changed."""
    config = installation.settings
    if config.nats_url is None:
        yield fine("none: journals go from collectors to writers without one")
        return
    link = importlib.import_module("ingest.transport.broker.link")  # of an extra
    broker = link.BrokerSettings.of(
        config.nats_url.get_secret_value(), config.nats_ca, config.nats_replicas, config.nats_bytes_max
    )
    streams = asyncio.run(asyncio.wait_for(_streams(link, broker, config.collector), 2 * ANSWER_S))
    found = list(_of_streams(link, broker, streams))
    yield from found or [fine(f"answers; streams: {len(streams)}")]
    yield from _of_sync([str(url) for url in config.nats_monitor_url])


async def _streams(link: Any, broker: BrokerSettings, collector: str) -> list[Any]:
    """Return what the broker says about the streams of collectors; of our own only, which may not list others."""
    connected = link.Link(broker, "doctor")
    try:
        context = await connected.streams()
        with link.translated():
            with suppress(link.js_errors.NotFoundError):
                return [await context.stream_info(link.stream_config(broker, collector).name)]
            return [one for one in await context.streams_info() if one.config.name.startswith("TICKLINE-")]
    finally:
        await connected.close()


def _of_streams(link: Any, broker: BrokerSettings, streams: Iterable[Any]) -> Iterable[tuple[State, str, str]]:
    for one in streams:
        wanted = link.stream_config(broker, one.config.name.removeprefix("TICKLINE-"))
        for name, (now, ours) in link.differences(one.config, wanted).items():
            if name != "subjects":
                yield warning(
                    f"{one.config.name}: {name} is {now}, the settings say {ours}",
                    "its collector sets it at its next start, if the settings there say so too",
                )
        if one.config.max_bytes and one.state.bytes > ROOM_SHARE * one.config.max_bytes:
            yield warning(
                f"{one.config.name} has {one.state.bytes:,} bytes of {one.config.max_bytes:,}",
                "start a writer, or raise TICKLINE_NATS_BYTES_MAX of its collector",
            )


def _of_sync(monitors: list[str]) -> Iterable[tuple[State, str, str]]:
    """Say whether each node syncs what it acknowledges, which only its monitoring tells."""
    if not monitors:
        yield warning("whether it syncs what it acknowledges is not known", UNSEEN)
    for url in monitors:
        try:
            with urllib.request.urlopen(url.rstrip("/") + "/varz", timeout=ANSWER_S) as answer:  # noqa: S310  of a setting
                settings = json.loads(answer.read(2**20))["jetstream"]["config"]
        except (OSError, ValueError, LookupError, TypeError) as exc:
            reason = getattr(exc, "reason", None) or type(exc).__name__
            yield warning(f"node {url} does not say when it syncs: {reason}", UNSEEN)
            continue
        if settings.get("sync_always"):
            yield fine(f"node {url} syncs what it acknowledges")
        else:
            seconds = settings.get("sync_interval", 0) / 1e9
            yield warning(f"node {url} syncs every {seconds:,.0f} s: a power cut takes acknowledged blocks", SYNC)
