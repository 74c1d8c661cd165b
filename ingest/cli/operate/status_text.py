"""Answers of the running ingester as text, for `tickline status`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from ingest import own_api
from ingest.market.shown_time import ist
from ingest.terminal import print_table

PATHS = {
    "status": own_api.STATUS,
    "subscriptions": own_api.SUBSCRIPTIONS,
    "ticks": own_api.TICKS,
    "health": own_api.HEALTH,
    "writer": own_api.WRITER,
}
ROWS = {"subscriptions": "subscriptions", "ticks": "latest_ticks"}  # answers with a row per key


def looked(api: own_api.OwnApi, what: str) -> tuple[dict[str, Any], list[str]]:
    """Return the answer to a question, and the problems that make the ingester unhealthy; a writer says what it does.

    Raises
    ------
    TicklineError
        If no ingester answers, or another program does.
    """
    try:
        try:
            answer = api.ask(PATHS[what])
        except own_api.NotServedError:
            if what != "status":
                raise
            answer = api.ask(own_api.WRITER)
        health = api.ask(own_api.HEALTH)
        return answer, health["problems"] if health["status"] != "healthy" else []
    except (KeyError, TypeError) as exc:
        raise api.foreign() from exc


def as_text(what: str, answer: dict[str, Any]) -> str:
    """Return the answer as text: one line per fact, connection, key and handler."""
    rows = ROWS.get(what)
    lines = []
    for name, value in answer.items():
        if name == rows:
            lines += [f"{key}: " + _facts(row) for key, row in value.items()]
        elif name == "errors":
            lines += [f"error {part}: {_error(error)}" for part, error in value.items()]
        elif name in {"connections", "handlers"}:
            lines += [f"{name[:-1]} {row['name']}: " + _facts(row) for row in value]
        elif name == "collectors":
            for row in value:
                lines.append(f"collector {row['collector'] or row['source']}: " + _facts(row))
                lines += [f"stream {stream}: " + _facts(facts) for stream, facts in row["streams"].items()]
        elif name == "stream" and isinstance(value, dict):
            lines.append("stream: " + _facts({part: fact for part, fact in value.items() if part != "streams"}))
            lines += ["stream client: " + _facts(client) for client in value["streams"]]
        elif name in {"subscribed_symbols", "subscribed_keys"}:
            continue  # `tickline status subscriptions` lists them
        else:
            lines.append(f"{name}: {_facts(value) if isinstance(value, dict) else _shown(value)}")
    return "\n".join(lines)


def print_rows(what: str, answer: dict[str, Any]) -> None:
    """Print an answer with a row per key on a terminal: first the other facts, then a table."""

    rows: dict[str, dict[str, Any]] = answer.pop(ROWS[what])
    click.echo(as_text(what, answer))
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    values = [[row.get(name) for row in rows.values()] for name in names]
    columns = [["symbol" if what == "ticks" else "instrument_key", *rows]]
    columns += [
        [name, *("-" if value is None else str(_shown(value)) for value in column)]
        for name, column in zip(names, values, strict=True)
    ]
    numeric = [all(isinstance(value, int | float | None) for value in column) for column in values]
    print_table(columns, [False, *numeric], sys.stdout)


def _facts(row: dict[str, Any]) -> str:
    shown = {name: _shown(value) for name, value in row.items() if name != "name" and not isinstance(value, dict)}
    if isinstance(error := row.get("last_error"), dict):
        shown["last_error"] = _error(error)
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _error(error: dict[str, Any]) -> str:
    """Return a last error as text: message, time, and whether it is over."""
    until = "lasts" if error["state"] == "now" else f"over since {_shown(error['over_at'])}"
    return f"{error['text']!r} ({_shown(error['at'])}, {until}; {error['count']:,} in all)"


def _shown(value: Any) -> Any:
    """Return a value for people: times in IST."""
    try:
        return ist(datetime.fromisoformat(value)) if isinstance(value, str) and "T" in value else value
    except ValueError:
        return value
