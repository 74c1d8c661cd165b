"""Sender: a feed that sends a recording's frames as fast as the socket takes them, or at a fixed rate.

Unlike the simulator it does no work per frame, so that a bench measures the ingester. At a fixed rate, frame n is due
n intervals after the first, whatever the receiver does: a late frame does not delay the time at which the next is due.

Runs as a process: `python -m ingest.bench.feed_server RECORDING [--interval-ns N] [--days N]` serves one client and
exits. It prints lines of JSON: first its URL; then, when it begins, the time; at the end the time, and by how much
the latest frame was late. Times are epoch nanoseconds.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from ingest.journal.recording import read_recording
from ingest.market.time import DAY_MS
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.upstox.rest import AUTHORIZE_PATH


def later(payload: bytes, days: int) -> bytes:
    """Return a frame with all its times moved by whole days."""
    message = pb.FeedResponse.FromString(payload)
    message.currentTs += days * DAY_MS
    for feed in message.feeds.values():
        full = feed.fullFeed
        market = full.indexFF if full.HasField("indexFF") else full.marketFF
        if market.ltpc.ltt:
            market.ltpc.ltt += days * DAY_MS
        for candle in market.marketOHLC.ohlc:
            candle.ts += days * DAY_MS
    return message.SerializeToString()


def frames_of_days(payloads: list[bytes], days: int) -> Iterator[bytes]:
    """Yield the frames, then the same frames a day later, and so on."""
    yield from payloads
    for day in range(1, days):
        for payload in payloads:
            yield later(payload, day)


def serve_one(payloads: Iterable[bytes], *, interval_ns: float) -> None:
    """Serve one client: authorise it, wait for its subscription, send everything, wait until it leaves."""
    done = threading.Event()

    def feed(connection: ServerConnection) -> None:
        connection.recv()
        began_ns, late_ns_max = time.time_ns(), 0
        _say(began_ns=began_ns)
        for number, payload in enumerate(payloads):
            if interval_ns:
                due_ns = began_ns + round(number * interval_ns)
                while (early_ns := due_ns - time.time_ns()) > 0:
                    time.sleep(early_ns / 1e9)
                late_ns_max = max(late_ns_max, -early_ns)
            connection.send(payload)
        _say(ended_ns=time.time_ns(), late_ns_max=late_ns_max)
        for _ in connection:  # further subscriptions, until it leaves
            pass
        done.set()

    def authorize(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != AUTHORIZE_PATH:
            return None if request.path == "/feed" else connection.respond(HTTPStatus.NOT_FOUND, "")
        uri = f"ws://{request.headers['Host']}/feed"
        response = connection.respond(HTTPStatus.OK, json.dumps({"data": {"authorized_redirect_uri": uri}}))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    with serve(feed, "127.0.0.1", 0, process_request=authorize, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _say(url=f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        done.wait()


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recording", type=Path)
    parser.add_argument("--interval-ns", type=float, default=0.0, help="0: as fast as the socket takes them")
    parser.add_argument("--days", type=int, default=1, help="send the recording so many times, each a day later")
    given = parser.parse_args()
    payloads = [frame.payload for frame in read_recording(given.recording)]
    serve_one(frames_of_days(payloads, given.days), interval_ns=given.interval_ns)


if __name__ == "__main__":
    main()
