"""The measured tables of tests/README.md: `make bench` prints them, `python -m tests.perf.tables --write` writes them.

Each table stands between two markers of the document, which are comments; nothing else in it is touched.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from pathlib import Path

import click
import psycopg

from ingest.bench.figures import Row
from ingest.bench.reports import Report, ingest_report, latency_report, scale_report
from ingest.cli.trial.bench import ENGINES, PEERS
from ingest.database import timescaledb
from ingest.database.connections import Database
from ingest.database.embedded import SUPERUSER, embedded_server
from ingest.database.settings import DatabaseSettings
from ingest.database.upgrade import upgrade
from tests.data import REPOSITORY
from tests.perf.test_questions import answers

DOCUMENT = REPOSITORY / "tests" / "README.md"
NAMES = ("machine", "ingest", "latency", "scale", "questions")


def replaced(text: str, name: str, block: str) -> str:
    """Return a document with another block between the markers of a name.

    Raises
    ------
    ValueError
        If the document does not have the markers exactly once.
    """
    pattern = rf"(<!-- bench:{re.escape(name)} -->\n)(?:(?!<!-- ).)*(<!-- /bench -->)"
    new, count = re.subn(pattern, lambda found: f"{found[1]}\n{block.strip()}\n\n{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{count} pairs of markers <!-- bench:{name} --> and <!-- /bench -->: write one")
    return new


def markdown(rows: list[Row]) -> str:
    """Return a table in Markdown; none for no rows."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block_of(command: str, report: Report) -> str:
    """Return what stands between the markers: the command, and its tables."""
    return "\n\n".join([f"`{command}`:", *filter(None, map(markdown, report.tables))])


def machine() -> str:
    """Return what the figures depend on: processor and versions."""
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    files = timescaledb.find(DatabaseSettings().timescaledb_dir)
    with tempfile.TemporaryDirectory(prefix="tickline-") as home:
        with embedded_server(Path(home), use_timescaledb=files is not None) as server:
            with psycopg.connect(server.url("postgres", user=SUPERUSER)) as connection:
                (postgres,) = connection.execute("select split_part(version(), ' ', 2)").fetchone() or ("",)
                extension = connection.execute(
                    "select default_version from pg_available_extensions where name = 'timescaledb'"
                ).fetchone()
    versions = [f"Python {platform.python_version()}", f"PostgreSQL {postgres}"]
    versions += [f"TimescaleDB {extension[0]}"] if extension else []
    return f"{cores} cores ({processor()}), {memory:.0f} GB of memory; {', '.join(versions)}."


def questions() -> str:
    """Return the table of the questions of `sql/samples/`."""
    rows = []
    for engine in ENGINES:
        say(f"questions: {engine}")
        with tempfile.TemporaryDirectory(prefix="tickline-") as home:
            with Database.open(DatabaseSettings(home=Path(home), engine=engine, database_url=None)) as database:
                upgrade(database)
                rows += [answer.row(engine) for answer in answers(database)]
    return markdown(rows)


def processor() -> str:
    """Return the model of the processor, as far as the system tells."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", facts.read_text(), re.MULTILINE) if facts.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


@click.command()
@click.option("--write", is_flag=True, help="Write the tables into tests/README.md; otherwise print them.")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Only these tables.")
@click.option("--ticks", default=300_000, show_default=True)
@click.option("--runs", default=3, show_default=True)
@click.option("--peer-seconds", default=10.0, show_default=True)
@click.option("--rates", default="1000,10000,50000", show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--memory-ticks", default=10_000_000, show_default=True)
def main(
    *,
    write: bool,
    only: tuple[str, ...],
    ticks: int,
    runs: int,
    peer_seconds: float,
    rates: str,
    seconds: float,
    memory_ticks: int,
) -> None:
    """Measure, and print or write the tables of tests/README.md."""
    wanted = only or NAMES
    blocks = {}
    if "machine" in wanted:
        blocks["machine"] = machine()
    if "ingest" in wanted:
        blocks["ingest"] = block_of(
            f"tickline bench ingest --ticks {ticks} --runs {runs} --peers",
            ingest_report(
                ENGINES, ticks=ticks, instruments=500, ticks_per_frame=10, runs=runs,
                peers=PEERS, peer_s_max=peer_seconds, say=say,
            ),
        )  # fmt: skip
    if "latency" in wanted:
        blocks["latency"] = block_of(
            f"tickline bench latency --rates {rates} --seconds {seconds:g}",
            latency_report(
                ENGINES, rates=[int(rate) for rate in rates.split(",")], seconds=seconds, warm_up_s=3.0,
                instruments=156, say=say,
            ),
        )  # fmt: skip
    if "scale" in wanted:
        blocks["scale"] = block_of(
            f"tickline bench scale --ticks {ticks} --runs {runs} --memory-ticks {memory_ticks}",
            scale_report(ENGINES, ticks=ticks, memory_ticks=memory_ticks, runs=runs, say=say),
        )
    if "questions" in wanted:
        blocks["questions"] = questions()
    if not write:
        print("\n\n".join(blocks.values()))
        return
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = replaced(text, name, block)
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
