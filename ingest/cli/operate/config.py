"""`tickline config`: print all settings as a .env file to start from, or each with its value and its origin."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.redaction import HIDDEN, unfenced_stdout

if TYPE_CHECKING:
    from ingest.settings import Settings

NAME = ".env.example"
PACKAGE = Path(__file__).parents[2]  # a wheel has the file here, a source tree has it beside the package


@click.group("config", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Print every setting with its meaning, unit and default; `show`: with its value.

    The output is a settings file: create yours with `tickline config > .env`, find a setting with
    `tickline config | grep JOURNAL`.
    """
    if ctx.invoked_subcommand is not None:
        return
    installed = PACKAGE / NAME
    path = installed if installed.is_file() else PACKAGE.parent / NAME
    # Unfiltered: the filter would change lines such as PASSWORD=.
    click.echo(path.read_text(encoding="utf-8"), nl=False, file=unfenced_stdout())


@command.command()
@click.option("--changed", is_flag=True, help="Only settings that the environment or .env sets.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def show(*, changed: bool, form: str) -> None:
    """Show the value of each setting and where it comes from: the environment, .env or the default.

    The environment wins over .env. Secrets are masked.
    """
    from ingest.settings import settings
    from ingest.terminal import print_table

    rows = [row for row in settings_in_force(settings()) if not changed or row["source"] != "default"]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    header = ("setting", "value", "source")
    columns = [[name, *(str(row[name]) for row in rows)] for name in header]
    print_table(columns, [False] * len(header), sys.stdout)


def settings_in_force(config: Settings) -> list[dict[str, str]]:
    """Return name, value and source of each setting, in the order of the program; secrets are masked."""
    from ingest.database.settings import is_secret, setting_names
    from ingest.env_file import read_env

    environment = {name.upper() for name, value in os.environ.items() if value}
    in_file = {name.upper() for name, value in read_env().items() if value}
    rows = []
    for field in type(config).model_fields:
        names, value = setting_names(type(config), field), getattr(config, field)
        if is_secret(type(config), field):
            shown = HIDDEN if value is not None and value.get_secret_value() else ""
        else:
            shown = _shown(value)
        source = "environment" if environment & set(names) else ".env" if in_file & set(names) else "default"
        rows.append({"setting": names[0], "value": shown, "source": source})
    return rows


def _shown(value: Any) -> str:
    """Return a value as it is written in a settings file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
