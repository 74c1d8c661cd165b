"""Send new signals to a log file and a webhook, in addition to storing them.

Owns both, and the rule that a webhook without an answer delays nothing for longer than `WEBHOOK_S` and stops
nothing. NOTIFY is sent by the database, with the row. Must not know how signals are found.
"""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl

from ingest.errors import ConfigError

log = logging.getLogger(__name__)
signal_log = logging.getLogger("analytics.signals.log")
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
WEBHOOK_S = 3.0  # seconds; a small part of a minute, because the next minute waits
FIELDS = (
    "instrument_key", "trading_symbol", "bucket", "direction", "confidence", "severity", "close", "move", "reasons",
    "members",
)  # fmt: skip


def as_json(signals: pl.DataFrame) -> list[str]:
    """Return each signal as a line of JSON; times are UTC in ISO 8601, `members` null or an array."""
    texts = signals.select(FIELDS).with_columns(pl.col("bucket").dt.strftime(UTC_FORMAT))
    return [json.dumps(row, ensure_ascii=False, default=_utc) for row in texts.iter_rows(named=True)]


def _utc(value: object) -> str:
    """Return a time within a signal, that of a member."""
    if not isinstance(value, datetime):
        raise TypeError(f"a signal has no {type(value).__name__}")
    return value.strftime(UTC_FORMAT)


def log_signals(signals: pl.DataFrame) -> None:
    """Log a line of JSON for each signal; the command line writes them to signals.log, which rotates."""
    for line in as_json(signals):
        signal_log.info("%s", line)


def append_to_log(path: Path, signals: pl.DataFrame) -> bool:
    """Append a line of JSON for each signal to a file; on failure log a warning and return False."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in as_json(signals))
    except OSError as exc:
        log.warning("log cannot be written path=%s signals=%d error=%s", path, signals.height, exc.strerror)
        return False
    return True


def check_log(path: Path) -> None:
    """Raise ConfigError if a file cannot be appended to; it then exists."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as exc:
        raise ConfigError(f"log {str(path)!r} cannot be written: {exc.strerror}: name another with --log") from exc


def check_webhook(url: str) -> str:
    """Return a URL that can be posted to.

    Raises
    ------
    ConfigError
        If it is not an http or https URL.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise ConfigError(f"{url!r} is not a URL to post to: write it as 'https://host/path'")
    return url


def post(url: str, signals: pl.DataFrame) -> bool:
    """Post the signals of a minute as one JSON array; on failure log a warning and return False."""
    body = f"[{','.join(as_json(signals))}]".encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - see check_webhook
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_S):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError) as exc:
        log.warning("webhook failed host=%s signals=%d error=%s", urlsplit(url).hostname, signals.height, exc)
        return False
