"""`tickline config`: print all settings as a .env file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ingest.redaction import unfenced_stdout

NAME = ".env.example"
PACKAGE = Path(__file__).parents[2]  # a wheel has the file here, a source tree has it beside the package


@click.command("config")
def command() -> None:
    """Print every setting with its meaning, unit and default.

    The output is a settings file: create yours with `tickline config > .env`, find a setting with
    `tickline config | grep JOURNAL`.
    """
    installed = PACKAGE / NAME
    path = installed if installed.is_file() else PACKAGE.parent / NAME
    # Unfiltered: the filter would change lines such as PASSWORD=.
    click.echo(path.read_text(encoding="utf-8"), nl=False, file=unfenced_stdout())
