"""Alert sender: post alerts and, if wanted, signals to `TICKLINE_ALERT_URL`, one after another.

Owns the waiting messages, their limit, and the retries. It runs beside the recording and delays nothing. The address is
a secret: it is in no log line and no error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import Counter, deque
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp

from ingest.backoff import backoff_s
from ingest.errors import StoreError
from ingest.live.broadcast.tables import SIGNAL_COLUMNS, SignalTail
from ingest.live.ingestion import Ingestion
from ingest.live.observe.alerts import TEXT_CHARS_MAX, Alerts, Message, filled
from ingest.live.observe.health import conditions
from ingest.market.shown_time import ist
from ingest.redaction import hide
from ingest.settings import Settings
from ingest.time_source import now_us
from ingest.upstox.responses import reason

log = logging.getLogger(__name__)

LOOK_S = 0.5
SIGNALS_S = 2.0
WAITING_MAX = 100  # more than a day of alerts; the oldest is dropped
POST_S = 10.0  # longest wait for an answer
FIRST_S, MAX_S = 1.0, 60.0  # first and longest wait before the next try
RETRY_AFTER_S_MAX = 300.0  # of what the service asks for with 429
KEPT_S = 3_600.0  # an older message is no news
BUSY = frozenset({408, 425, 429})
SECRET_CHARS_MIN = 8  # parts of the address that may be secrets by themselves, such as a bot's token


class AlertSender:
    """Send the alerts of one ingestion.

    Attributes
    ----------
    counts
        Messages by outcome: sent, failed, dropped.
    """

    def __init__(self, ingestion: Ingestion, settings: Settings) -> None:
        self._ingestion, self._settings = ingestion, settings
        self._alerts, self.counts = Alerts(), Counter[str]()
        if settings.alert_url:
            ingestion.alert_counts = self.counts
        self._waiting: deque[tuple[float, Message]] = deque()
        self._came = asyncio.Event()
        self._signals = SignalTail(ingestion.questions, now_us())
        self._error = ingestion.errors.of("alerts")
        self._url = settings.alert_url.get_secret_value() if settings.alert_url else ""
        parts = urlsplit(self._url)
        hide(*(part for part in (*parts.path.split("/"), parts.query, parts.path) if len(part) >= SECRET_CHARS_MIN))

    async def run(self) -> None:
        """Look and send until cancelled; end if there is no address."""
        if not self._url:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_along())
            group.create_task(self._send_along())
            if self._settings.alert_signals:
                group.create_task(self._signals_along())

    async def _look_along(self) -> None:
        while True:
            for message in self._alerts.step(conditions(self._ingestion), time.monotonic()):
                self.put(message)
            await asyncio.sleep(LOOK_S)

    async def _signals_along(self) -> None:
        while True:
            at = self._ingestion.watchdog.market_time()
            if at is not None:
                try:
                    found = await self._signals.look(None, at)
                except StoreError as exc:
                    log.debug("signals not seen error=%s", exc)
                else:
                    if found:
                        self.put(_of_signals([text for _, _, text in found]))
            await asyncio.sleep(SIGNALS_S)

    def put(self, message: Message) -> None:
        """Add a message to those that wait."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.counts["dropped"] += 1
        self._waiting.append((time.monotonic(), message))
        self._came.set()

    async def _send_along(self) -> None:
        timeout = aiohttp.ClientTimeout(total=POST_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            failures = 0
            while True:
                while not self._waiting:
                    self._came.clear()
                    await self._came.wait()
                put_s, message = self._waiting[0]
                wait_s = await self._post(session, message)
                if wait_s is not None and time.monotonic() - put_s < KEPT_S:
                    failures += 1
                    wait_s = max(wait_s, backoff_s(failures, random.Random(), first_s=FIRST_S, max_s=MAX_S))  # noqa: S311
                    log.log(
                        logging.WARNING if failures == 1 else logging.DEBUG,
                        "alert not sent, trying again in_s=%.1f failures=%d error=%s",
                        wait_s,
                        failures,
                        self._error.text,
                    )
                    await asyncio.sleep(wait_s)
                    continue
                failures = 0
                self.counts["failed"] += wait_s is not None
                if self._waiting and self._waiting[0][1] is message:  # it may have been dropped meanwhile
                    self._waiting.popleft()

    async def _post(self, session: aiohttp.ClientSession, message: Message) -> float | None:
        """Post a message; return None if it is done with, or how long to wait at least before the next try."""
        body = filled(self._settings.alert_template, message, self._settings.collector)
        try:
            async with session.post(self._url, json=body, allow_redirects=False) as answer:
                status, asked = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            host = urlsplit(self._url).hostname
            self._error.happened(f"{host} cannot be reached: {reason(_cause(exc))}: check TICKLINE_ALERT_URL")
            return 0.0
        if status < 300:
            self.counts["sent"] += 1
            self._error.over()
            return None
        self._error.happened(f"the service answers {status}: check TICKLINE_ALERT_URL and TICKLINE_ALERT_TEMPLATE")
        if status in BUSY or status >= 500:
            return min(float(asked), RETRY_AFTER_S_MAX) if asked.isdecimal() else 0.0
        log.error(
            "alert refused status=%d id=%s: check TICKLINE_ALERT_URL and TICKLINE_ALERT_TEMPLATE", status, message.id
        )
        self.counts["failed"] += 1
        return None


def _cause(exc: Exception) -> Exception:
    """Return an error without the address, which the library's own texts may repeat."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error
    return exc if isinstance(exc, TimeoutError) else ValueError()


def _of_signals(rows: list[bytes]) -> Message:
    """Return new signals as one message, a line each."""
    lines = []
    for text in rows:
        row = dict(zip(SIGNAL_COLUMNS, json.loads(text), strict=True))
        at = ist(datetime.fromisoformat(row["bucket"]))
        name, reasons = row["symbol"] or row["instrument_key"], row["reasons"]
        words = reasons.get("text", "") if isinstance(reasons, dict) else reasons
        severity = "" if row["severity"] is None else f", severity {row['severity']}"
        members = "" if row["members"] is None else f", with {len(row['members'])} of its underlying"
        found = f"{name} {row['direction']} at {at}, {row['price']}, confidence {row['confidence']:.2f}"
        lines.append(f"{found}{severity}{members}: {words}")
    return Message("signals", "signal", "warning", "\n".join(lines)[:TEXT_CHARS_MAX])
