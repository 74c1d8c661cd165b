"""`tickline status`: ask the ingester that runs on this machine for its status."""

from __future__ import annotations

import json
import sys

import click

from ingest import own_api
from ingest.cli.operate.status_text import PATHS, ROWS, as_text, looked, print_rows


@click.command("status")
@click.argument("what", type=click.Choice(list(PATHS)), default="status")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--retry", is_flag=True, help="First request again the keys that the feed has not answered.")
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C; in a pipe, one line each time.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="With --watch: time between two looks.  [default: 1; in a pipe 10]",
)
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="With --watch: stop after this time.",
)
def command(what: str, form: str, *, retry: bool, watch: bool, every_s: float | None, for_s: float | None) -> None:
    """Show status (default), subscriptions, ticks or health of the running ingester, or what a `tickline write` does.

    Asks on TICKLINE_API_HOST, port TICKLINE_API_PORT. Exit code 1: no ingester answers, or it is unhealthy, that is,
    data that should flow does not. --watch goes on whatever is answered, and ends with exit code 0.
    """
    from ingest.addresses import is_loopback
    from ingest.cli.operate.status_watch import watch_status
    from ingest.errors import TicklineError
    from ingest.live.access import stored_token
    from ingest.settings import settings

    if not watch and (every_s is not None or for_s is not None):
        raise click.UsageError("--every and --for need --watch")
    config = settings()
    # Reading on this machine needs no token: the reader may be another user than the recorder.
    token = stored_token(config.home) if retry or not is_loopback(config.api_host) else None
    api = own_api.OwnApi(config.api_host, config.api_port, token)
    if retry:
        click.echo(f"{_retry(api):,} keys requested again", err=True)
    if watch:
        watch_status(api, what, form, every_s=every_s, for_s=for_s)
        return
    answer, problems = looked(api, what)
    if form == "json":
        click.echo(json.dumps(answer, indent=2))
    elif what in ROWS and sys.stdout.isatty():
        print_rows(what, answer)
    else:
        click.echo(as_text(what, answer))
    if problems:
        raise TicklineError("unhealthy: " + "; ".join(problems))


def _retry(api: own_api.OwnApi) -> int:
    """Let the ingester request unanswered keys again; return their number."""
    try:
        return len(api.ask(own_api.RETRY, "POST")["retried_keys"])
    except (KeyError, TypeError) as exc:
        raise api.foreign() from exc
