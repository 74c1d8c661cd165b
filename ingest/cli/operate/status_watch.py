"""`tickline status --watch`: the status of the running ingester again and again.

On a terminal it is shown in place; in a pipe or file each look is one line, of `key=value` pairs or of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from ingest.cli.operate.status_text import as_text, looked
from ingest.errors import TicklineError
from ingest.market.shown_time import ist
from ingest.own_api import OwnApi

EVERY_S = 1.0
EVERY_IN_PIPE_S = 10.0


def watch_status(api: OwnApi, what: str, form: str, *, every_s: float | None, for_s: float | None) -> None:
    """Show the answer to a question until Ctrl-C or for some seconds; an ingester that is away is waited for.

    Parameters
    ----------
    api
        Whom to ask.
    what, form
        The question, and `table` or `json`.
    every_s
        Seconds between two looks; None: 1 on a terminal, 10 elsewhere.
    for_s
        Seconds after which it ends; None: never.
    """
    is_live = sys.stdout.isatty() and form == "table"
    looks = _looks(api, what, every_s or (EVERY_S if is_live else EVERY_IN_PIPE_S), for_s)
    try:
        if is_live:
            _show_live(what, looks)
            return
        for at, answer, problems in looks:
            if form == "json":
                click.echo(json.dumps({"at": at.isoformat(), "problems": problems, what: answer}))
            else:
                click.echo(f"{ist(at)} {as_line(what, answer, problems)}")
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


def as_line(what: str, answer: dict[str, Any] | None, problems: list[str]) -> str:
    """Return a look as one line: health, the numbers that matter, problems last.

    >>> as_line("health", {"status": "unhealthy"}, ["connection 1 is silent"])
    'unhealthy problems=connection 1 is silent'
    >>> as_line("status", None, ["no ingester answers"])
    'away problems=no ingester answers'
    """
    facts: dict[str, Any] = {}
    if answer is not None and what == "status":
        connections, subscriptions = answer["connections"], answer["subscriptions"]
        facts["connected"] = f"{sum(one['state'] == 'live' for one in connections)}/{len(connections)}"
        facts["keys"] = f"{subscriptions['subscribed_count']}/{subscriptions['total_symbols']}"
        facts["frames_per_s"] = round(sum(one["frames_per_s"] for one in connections), 1)
        facts["ticks"] = sum(one["ticks"] for one in connections)
        facts["last_frame_age_s"], facts["journal_lag_bytes"] = answer["last_frame_age_s"], answer["journal_lag_bytes"]
        if answer["database_away_s"] is not None:
            facts["database_away_s"] = answer["database_away_s"]
    elif answer is not None:
        facts = {name: value for name, value in answer.items() if isinstance(value, int | float)}
    parts = ["away" if answer is None else "unhealthy" if problems else "healthy"]
    parts += [f"{name}={'-' if value is None else value}" for name, value in facts.items()]
    return " ".join([*parts, *([f"problems={'; '.join(problems)}"] if problems else [])])


def _looks(
    api: OwnApi, what: str, every_s: float, for_s: float | None
) -> Iterator[tuple[datetime, dict[str, Any] | None, list[str]]]:
    """Yield the time, the answer (None: no ingester answers) and the problems, every `every_s` seconds."""
    ends = None if for_s is None else time.monotonic() + for_s
    while True:
        at = datetime.now(UTC).replace(microsecond=0)
        try:
            yield at, *looked(api, what)
        except TicklineError as exc:
            yield at, None, [str(exc)]
        if ends is not None and time.monotonic() + every_s > ends:
            return
        time.sleep(every_s)


def _show_live(what: str, looks: Iterator[tuple[datetime, dict[str, Any] | None, list[str]]]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for at, answer, problems in looks:
            word = "away" if answer is None else "unhealthy" if problems else "healthy"
            text = Text(f"{ist(at)}  {word}", style="" if console.no_color else "red" if problems else "green")
            for line in [*problems, "", *(as_text(what, answer).splitlines() if answer else [])]:
                text.append(f"\n{line}", style="default")
            text.no_wrap, text.overflow = True, "ellipsis"
            live.update(text, refresh=True)
