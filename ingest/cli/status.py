"""`tickline status`: what the ingester that runs on this machine says of itself."""

from __future__ import annotations

import http.client
import json
from typing import Any

import click

TIMEOUT_S = 5.0
PATHS = {
    "status": "/api/v1/websocket/status",
    "subscriptions": "/api/v1/websocket/subscriptions",
    "ticks": "/api/v1/websocket/latest-ticks",
    "health": "/health",
}


@click.command("status")
@click.argument("what", type=click.Choice(list(PATHS)), default="status")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(what: str, form: str) -> None:
    """Ask the running ingester: status (default), subscriptions, ticks or health.

    It answers on loopback, port TICKLINE_API_PORT. Exit code 1 if none answers, or if it is
    unhealthy: data that should flow do not.
    """
    from ingest.config import settings
    from sql.errors import TicklineError

    port = settings().api_port
    try:
        code, answer = _ask(port, PATHS[what])
        _, health = _ask(port, PATHS["health"])
    except OSError as exc:
        raise TicklineError(
            f"no ingester answers on port {port}: run `tickline start`, or set TICKLINE_API_PORT"
        ) from exc
    click.echo(json.dumps(answer, indent=2) if form == "json" or code not in {200, 503} else _table(what, answer))
    if health["status"] != "healthy":
        raise TicklineError("unhealthy: " + "; ".join(health["problems"]))


def _ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _table(what: str, answer: dict[str, Any]) -> str:
    """Return the answer for a reader: one line a fact, and one a connection, key or handler."""
    rows = {"subscriptions": "subscriptions", "ticks": "latest_ticks"}.get(what)
    lines = []
    for name, value in answer.items():
        if name == rows:
            lines += [f"{key}: " + ", ".join(f"{k} {v}" for k, v in row.items()) for key, row in value.items()]
        elif name in {"connections", "handlers"}:
            lines += [f"{name[:-1]} {row['name']}: " + _facts(row) for row in value]
        elif name == "subscribed_symbols":
            continue  # `tickline status subscriptions` lists them
        else:
            lines.append(f"{name}: {_facts(value) if isinstance(value, dict) else value}")
    return "\n".join(lines)


def _facts(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if name != "name" and not isinstance(value, dict))
