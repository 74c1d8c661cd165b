"""Lines of the log: for people on stderr and in files, or as JSON for programs.

Owns their form and that no line of a file has a secret; stderr is fenced by the command line. Must not know files.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from ingest.market.shown_time import ist
from ingest.redaction import redact

PAIR = re.compile(r" ([a-z][a-z0-9_]*)=")
LAST = "error"  # its value is a text, with pairs of its own perhaps
NUMBER = re.compile(r"-?\d+(\.\d+)?")


class IndianFormatter(logging.Formatter):
    """Format log lines with Indian time, whatever the machine's time zone."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the library's
        """Return the time of a record in IST, to the millisecond."""
        return ist(datetime.fromtimestamp(round(record.created, 3), UTC))


class TextLine(IndianFormatter):
    """One line for people: Indian time, level, command and process, logger, message."""

    def __init__(self, command: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {command}[%(process)d] %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return a record without secrets; a traceback follows on lines of its own."""
        return redact(super().format(record))


class JsonLine(logging.Formatter):
    """One object per line for programs: time in UTC, and the message also as event and its `key=value` pairs."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self._command = command

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON, without secrets."""
        message = redact(record.getMessage())
        event, fields = pairs(message)
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "command": self._command,
            "pid": record.process,
            "logger": record.name,
            "message": message,
            "event": event,
            "fields": fields,
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def pairs(message: str) -> tuple[str, dict[str, Any]]:
    """Return the event and the pairs of a message; numbers as numbers.

    >>> pairs("batch written rows=2000 ms=1.5 error=refused host=a b")
    ('batch written', {'rows': 2000, 'ms': 1.5, 'error': 'refused host=a b'})
    """
    marks = []
    for mark in PAIR.finditer(message):
        marks.append(mark)
        if mark[1] == LAST:
            break
    if not marks:
        return message, {}
    ends = [*(mark.start() for mark in marks[1:]), len(message)]
    fields = {mark[1]: _value(message[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)}
    return message[: marks[0].start()], fields


def _value(text: str) -> str | int | float:
    number = NUMBER.fullmatch(text)
    return text if number is None else float(text) if number[1] else int(text)
