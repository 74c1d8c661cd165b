"""`tickline status`: ask the ingester that runs on this machine for its status."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

import click

from ingest import own_api

PATHS = {
    "status": own_api.STATUS,
    "subscriptions": own_api.SUBSCRIPTIONS,
    "ticks": own_api.TICKS,
    "health": own_api.HEALTH,
}
ROWS = {"subscriptions": "subscriptions", "ticks": "latest_ticks"}  # answers with a row per key


@click.command("status")
@click.argument("what", type=click.Choice(list(PATHS)), default="status")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--retry", is_flag=True, help="First request again the keys that the feed has not answered.")
def command(what: str, form: str, retry: bool) -> None:
    """Show status (default), subscriptions, ticks or health of the running ingester.

    Asks on TICKLINE_API_HOST, port TICKLINE_API_PORT. Exit code 1: no ingester answers, or it is unhealthy, that is,
    data that should flow does not.
    """
    from ingest.addresses import is_loopback
    from ingest.errors import TicklineError
    from ingest.live.access import stored_token
    from ingest.settings import settings

    config = settings()
    # Reading on this machine needs no token: the reader may be another user than the recorder.
    token = stored_token(config.home) if retry or not is_loopback(config.api_host) else None
    api = own_api.OwnApi(config.api_host, config.api_port, token)
    try:
        retried = api.ask(own_api.RETRY, "POST")["retried_keys"] if retry else []
        answer = api.ask(PATHS[what])
        health = api.ask(own_api.HEALTH)
        problems = health["problems"] if health["status"] != "healthy" else []
    except (KeyError, TypeError, AttributeError) as exc:
        raise api.foreign() from exc
    if retry:
        click.echo(f"{len(retried):,} keys requested again", err=True)
    if form == "json":
        click.echo(json.dumps(answer, indent=2))
    elif what in ROWS and sys.stdout.isatty():
        _print_rows(what, answer)
    else:
        click.echo(_table(what, answer))
    if problems:
        raise TicklineError("unhealthy: " + "; ".join(problems))


def _table(what: str, answer: dict[str, Any]) -> str:
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
        elif name == "subscribed_symbols":
            continue  # `tickline status subscriptions` lists them
        else:
            lines.append(f"{name}: {_facts(value) if isinstance(value, dict) else _shown(value)}")
    return "\n".join(lines)


def _print_rows(what: str, answer: dict[str, Any]) -> None:
    """Print an answer with a row per key on a terminal: first the other facts, then a table."""
    from ingest.terminal import print_table

    rows: dict[str, dict[str, Any]] = answer.pop(ROWS[what])
    click.echo(_table(what, answer))
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    values = [[row.get(name) for row in rows.values()] for name in names]
    columns = [["instrument_key", *rows]]
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
    from ingest.market.shown_time import ist

    try:
        return ist(datetime.fromisoformat(value)) if isinstance(value, str) and "T" in value else value
    except ValueError:
        return value
