"""What the documents tell a reader to type: each command and snippet is run, or stands below with the reason why not.

One home is filled once from the simulator; blocks of code run in its folder, in the order of the documents. The
documents speak of one day: the one that the simulator plays takes its place.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from ingest.cli import group as tickline
from ingest.database.connections import Database
from tests.conftest import Template
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import Ingester, Market, committed, rows, wait_until
from tests.processes import CommandProcess
from tests.quick_commands import quick_commands
from tests.simulated import free_port

DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"{name}/README.md" for name in ("ingest", "sql", "analytics", "tests")))
README_BYTES_MAX = 12_000
DAY = date(2026, 11, 27)
# First words of lines that are not run, and why.
NOT_RUN = {
    "tickline login": "needs the vendor",
    "tickline page": "serves until it is stopped; test_page.py looks at it in a browser",
    'tickline start INFY "NIFTY FUT" "BANKNIFTY': "needs the vendor",
    "docker compose": "needs Docker",
    'tickline start INFY "NIFTY FUT" --for 100': "test_rehearsal.py records through a bad day",
    "tickline bench": "takes minutes; test_bench.py runs it with small sizes",
    "make demo": "installs; `tickline demo` has a test of its own",
    "git ": "changes the repository",
    "pre-commit": "changes the repository",
}
ELSEWHERE = {
    "make ": "test_make_targets_of_documents_exist",
    "tickline simulate ": "test_simulators_of_documents_start",
}
# A figure for people; a test ends it when it has recorded something, however long that takes.
LONGER = {"--for 60": "--for 600"}
# Names that are no settings of the program.
OTHER_NAMES = {"TICKLINE_TEST_DATA"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True, slots=True)
class Filled:
    """A home with a recorded session, and what points commands at it."""

    folder: Path
    market: Market
    environment: dict[str, str]
    day: date
    begun: dict[str, CommandProcess]


def text_of(document: str) -> str:
    return (REPOSITORY / document).read_text(encoding="utf-8")


def blocks_of(document: str) -> list[Block]:
    """All fenced blocks."""
    text = text_of(document)
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(document, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def blocks(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == language], ids=str)


def reads(block: Block) -> bool:
    """Whether a block is Python that reads; `test_recorder.py` runs the one that records."""
    return block.language == "python" and "TickRecorder" not in block.text


def lines_to_run(block: Block) -> list[str]:
    """The lines of a block but those that have tests of their own, and those that a block before it has."""
    before = {line for other in BLOCKS[: BLOCKS.index(block)] for line in commands(other)}
    return [line for line in commands(block) if line not in before and not line.startswith(tuple(NOT_RUN | ELSEWHERE))]


def commands(block: Block) -> list[str]:
    """The lines of a block of shell, without comments."""
    lines = block.text.splitlines() if block.language == "bash" else []
    return [line for line in (re.sub(r"\s+#.*", "", line) for line in lines) if line]


def spans(document: str) -> list[str]:
    """What stands in backticks in the prose, and each line of the shell."""
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks_of(document) for line in commands(block)]
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", prose)] + lines


@pytest.fixture(scope="module")
def filled(database_to_read: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Some minutes of a made-up session, recorded by `tickline start`; the simulator goes on."""
    folder = tmp_path_factory.mktemp("documents")
    home = folder / "home"
    with (
        tempfile.TemporaryDirectory(prefix="tl-") as programs,
        quick_commands(Path(programs)) as begun,
        Market(folder / "market", "--generate", "--instruments", "20", "--rate", "200", "--speed", "max") as market,
    ):
        with Ingester(home, market, database_to_read.url, TICKLINE_UNIVERSE="INFY,NIFTY FUT") as ingester:
            wait_until(lambda: rows(database_to_read, "select from ticks offset 3000 limit 1"))
            ingester.stop()
        (day,) = re.findall(r"session of (\S+):", market.text())
        own = {
            "TICKLINE_HOME": str(home),
            "TICKLINE_DATABASE_URL": database_to_read.url,
            "TICKLINE_API_PORT": str(free_port()),
            "PATH": os.pathsep.join([programs, str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKLINE_", "UPSTOX_"))}
        yield Filled(folder, market, clean | market.settings | own, date.fromisoformat(day), begun)


@pytest.fixture
def running(filled: Filled, template: Template) -> Iterator[None]:
    """A `tickline start` that commands may ask, with a home and a database of its own."""
    port = filled.environment["TICKLINE_API_PORT"]
    with (
        template.fresh() as database,
        Ingester(filled.folder / "home-2", filled.market, database.url, TICKLINE_API_PORT=port),
    ):
        wait_until(lambda: committed(database)[1])
        yield


def as_played(text: str, day: date) -> str:
    """Put the day that was played into a text, and make its figures those of a test."""
    for n in range(2):
        text = text.replace(f"{DAY + timedelta(n)}", f"{day + timedelta(n)}")
        then, now = (f"date({d.year}, {d.month}, {d.day})" for d in (DAY + timedelta(n), day + timedelta(n)))
        text = text.replace(then, now)
    for figure, longer in LONGER.items():
        text = text.replace(figure, longer)
    return text


@on_one_engine
@pytest.mark.parametrize("block", [block for block in BLOCKS if lines_to_run(block)], ids=str)
def test_commands_of_documents_run(
    block: Block, filled: Filled, database_to_read: Database, request: pytest.FixtureRequest
) -> None:
    lines = lines_to_run(block)
    if any(line.startswith("tickline status") for line in lines):
        request.getfixturevalue("running")
    script = as_played("\n".join(lines), filled.day)
    command = ["bash", "-euo", "pipefail", "-c", script]
    if any(line.startswith("tickline start") for line in lines):
        before = committed(database_to_read)

        def end() -> None:
            wait_until(lambda: committed(database_to_read) != before, within_s=180)
            filled.begun["start"].send_signal(signal.SIGTERM)

        threading.Thread(target=end).start()
    done = subprocess.run(
        command, cwd=filled.folder, env=filled.environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@on_one_engine
@blocks("sql")
def test_statements_of_documents_find_rows_by_an_index(
    block: Block, filled: Filled, database_to_read: Database, template: Template
) -> None:
    statement = as_played(block.text, filled.day)
    if not statement.startswith("select"):
        with template.admin() as superuser, superuser.transaction(force_rollback=True):
            superuser.execute(statement.replace("public, tickline", "public").encode())
        return
    assert rows(database_to_read, statement)
    if "from bars(" in statement or "from top_movers(" in statement or "from option_chain(" in statement:
        return  # their plans are looked at in test_samples.py
    with database_to_read.connect() as connection:
        connection.execute("set enable_seqscan = off")  # of a few rows the planner would read all
        plan = "\n".join(row[0] for row in connection.execute(f"explain {statement}".encode()))
    assert "Index Cond" in plan and "Seq Scan on instruments" not in plan, plan


@on_one_engine
@pytest.mark.parametrize("block", [block for block in BLOCKS if reads(block)], ids=str)
def test_snippets_of_documents_find_rows(block: Block, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(filled.folder)
    for name in ("TICKLINE_HOME", "TICKLINE_DATABASE_URL"):
        monkeypatch.setenv(name, filled.environment[name])
    names: dict[str, Any] = {}
    exec(as_played(block.text, filled.day), names)
    assert not names["bars"].is_empty()


def test_simulators_of_documents_start(tmp_path: Path) -> None:
    lines = {line for block in BLOCKS for line in commands(block) if line.startswith("tickline simulate ")}
    assert lines
    with ThreadPoolExecutor() as pool:
        markets = list(pool.map(lambda line: Market(tmp_path / str(hash(line)), *shlex.split(line)[2:]), lines))
    for market in markets:
        market.kill()
        assert set(market.settings) == {"UPSTOX_API_URL", "UPSTOX_ASSETS_URL", "UPSTOX_ACCESS_TOKEN"}


def test_make_targets_of_documents_exist() -> None:
    found = {span for document in DOCUMENTS for span in spans(document) if span.startswith("make ")}
    targets = sorted({span.split()[1] for span in found})
    subprocess.run(["make", "--dry-run", *targets], cwd=REPOSITORY, check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_a_document_names_exist_with_their_options(document: str) -> None:
    for span in spans(document):
        if span.startswith("tickline "):
            check_command(span)


def check_command(span: str) -> None:
    """Fail if a command line names a command or an option that is not there."""
    command: click.Command = tickline
    options = set(options_of(command))
    for word in shlex.split(span)[1:]:
        found = subcommand(command, word)
        if found is not None:
            command = found
            options = set(options_of(command)) | set(options_of(subcommand(command, "find")))  # `find` is understood
        elif word.startswith("--"):
            assert word in options | {"--help"}, span
        else:
            assert command is not tickline or word == "…", span


def subcommand(command: click.Command, name: str) -> click.Command | None:
    return command.get_command(click.Context(command), name) if isinstance(command, click.Group) else None


def options_of(command: click.Command | None) -> list[str]:
    return [option for parameter in (command.params if command else []) for option in parameter.opts]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_and_files_that_a_document_names_exist(document: str) -> None:
    text = text_of(document)
    settings = set(re.findall(r"\b(?:TICKLINE|UPSTOX)_[A-Z_]+\b", text)) - OTHER_NAMES
    assert settings <= set(re.findall(r"^([A-Z_]+)=", text_of(".env.example"), re.MULTILINE))
    tests = {path.name for path in (REPOSITORY / "tests").rglob("*.py")}
    assert set(re.findall(r"`(?:[a-z/]+/)?(test_\w+\.py)`", text)) <= tests
    assert all((REPOSITORY / name).is_file() for name in re.findall(r"`([a-z]+/README\.md)`", text))


def test_what_is_not_run_is_in_a_document() -> None:
    lines = [line for block in BLOCKS for line in block.text.splitlines()]
    assert [words for words in NOT_RUN if not any(line.startswith(words) for line in lines)] == []


def test_readme_is_short() -> None:
    assert len(text_of("README.md").encode()) <= README_BYTES_MAX
