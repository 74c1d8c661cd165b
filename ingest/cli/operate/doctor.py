"""`tickline doctor`: examine this installation, line by line."""

from __future__ import annotations

import json
import logging
import os
import sys

import click

COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


def _checked(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.startswith(("https://", "http://", "nats:")):
            raise click.BadParameter(
                f"{value!r} is no address of a collector: write https://host:8791 or nats:NAME=https://host:8791"
            )
    return values


@click.command("doctor")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--collector",
    "collectors",
    multiple=True,
    callback=_checked,
    metavar="SOURCE",
    help="Also examine this source of `tickline write`, such as https://host:8791; repeat it for each.",
)
@click.pass_context
def command(ctx: click.Context, form: str, collectors: tuple[str, ...]) -> None:
    """Check everything that recording needs; say what is wrong, and what to do.

    Each line is ok, a warning or a failure, with its remedy: the program and its packages, settings, file modes, disk
    and journal, the database, the vendor, clock and token, and the running ingester. It changes nothing, but starts
    an existing embedded server, as each command does. Needs neither database, token nor network: it says so.

    With --collector, on the machine of a writer: whether the collector can be reached, its certificate and its clock,
    whether it takes the token, and how much of its journal the database has.

    Exit code 1: something has failed.
    """
    from ingest.doctor.checks import CHECKS
    from ingest.doctor.findings import State, examine
    from ingest.doctor.installation import Installation
    from ingest.live.access import stored_token

    level = logging.getLogger().level
    if not (ctx.obj or {}).get("debug"):
        logging.getLogger().setLevel(logging.CRITICAL)  # each line says it already
    installation, found = Installation(stored_token, collectors), []
    try:
        for finding in examine(installation, CHECKS):
            found.append(finding)
            if form == "table":
                remedy = f": {finding.remedy}" if finding.remedy else ""
                state = click.style(f"{finding.state:<8}", fg=COLOURS[finding.state])
                line = f"{state} {finding.topic:<10} {finding.text}{remedy}"
                click.echo(line, color=False if os.environ.get("NO_COLOR") else None)
    finally:
        installation.close()
        logging.getLogger().setLevel(level)
    failures, warnings = (sum(one.state is state for one in found) for state in (State.FAILURE, State.WARNING))
    if form == "json":
        click.echo(json.dumps([one.as_dict() for one in found], indent=2))
    else:
        click.echo(f"{len(found)} lines, {failures} failures, {warnings} warnings")
    if failures:
        sys.exit(1)
