"""`tickline config`: every setting, as a file to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from ingest.redaction import unfenced_stdout

NAME = ".env.example"
PACKAGE = Path(__file__).parents[2]  # where a wheel has the file; in a source tree it lies beside the package


@click.command("config")
def command() -> None:
    """Print every setting with what it means, its unit and its default.

    It is a settings file: `tickline config > .env` begins one, and `tickline config | grep JOURNAL` finds a setting.
    """
    installed = PACKAGE / NAME
    path = installed if installed.is_file() else PACKAGE.parent / NAME
    click.echo(path.read_text(encoding="utf-8"), nl=False, file=unfenced_stdout())  # words like PASSWORD are meant
