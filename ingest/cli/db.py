"""`tickline db`: create or migrate the schema, and look at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sql.apply import Status

UNITS = ("B", "kB", "MB", "GB", "TB")


@click.group("db")
def command() -> None:
    """Create, migrate and inspect the database."""


@command.command()
def upgrade() -> None:
    """Create or migrate the schema. Safe to repeat, and safe when two start at once."""
    from sql import apply
    from sql.database import HEAD, Database
    from sql.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database:
        applied = apply.upgrade(database)
        done = f"applied {', '.join(applied)}" if applied else "nothing to do"
        click.echo(f"{done}: schema {HEAD}, engine {database.engine}")


@command.command()
@click.option("--format", "output_format", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(output_format: str) -> None:
    """Show engine, versions, revision, sizes and jobs."""
    from sql import apply
    from sql.database import Database
    from sql.settings import DatabaseSettings, load

    with Database.open(load(DatabaseSettings)) as database:
        found = apply.status(database)
    if output_format == "json":
        click.echo(json.dumps(found.as_dict(), default=str, indent=2))
    else:
        _show(found)


def _show(found: Status) -> None:
    """Print a status as text and tables."""
    from rich.console import Console
    from rich.table import Table

    revision = found.revision or "none: run `tickline db upgrade`"
    console = Console(highlight=False)
    console.print(f"database   {found.database} ({found.place})", markup=False, soft_wrap=True)
    console.print(f"engine     {found.engine or 'not chosen yet'}")
    console.print(f"server     PostgreSQL {found.server_version}, TimescaleDB {found.timescaledb_version or 'none'}")
    console.print(f"revision   {revision} (this program: {found.head})", markup=False)
    console.print(f"size       {_size(found.bytes)}")
    if found.relations:
        table = Table("relation", "rows, about", "size", "parts")
        for relation in found.relations:
            table.add_row(relation.name, f"{relation.rows:,}", _size(relation.bytes), str(relation.parts))
        console.print(table)
    if found.jobs:
        table = Table("job", "on", "every", "runs", "failures", "last run")
        for job in found.jobs:
            last_run = f"{job.last_run:%Y-%m-%d %H:%M:%SZ}" if job.last_run else "never"
            table.add_row(job.job, job.relation, job.every, str(job.runs), str(job.failures), last_run)
        console.print(table)


def _size(size_bytes: int) -> str:
    """Return a size as a person reads it."""
    size = float(size_bytes)
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.0f} {UNITS[-1]}"
