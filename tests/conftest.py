"""Fixtures of all tests: both engines as real servers, and a fresh migrated database per test.

Each engine has one embedded server per run, which all workers of `make test` share; a test's
database is a copy of one that was upgraded once. Where TimescaleDB's files are absent its half runs
in a container when a Docker engine answers; otherwise it is skipped and the summary says how often.
"""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import psycopg
import pytest
from psycopg import sql as psql
from psycopg.conninfo import conninfo_to_dict

from ingest.database import timescaledb
from ingest.database import upgrade as apply
from ingest.database.connections import Database
from ingest.database.embedded import SUPERUSER, embedded_server
from ingest.database.queries import ENGINES
from ingest.database.settings import DatabaseSettings, Engine
from ingest.journal.recording import read_recording, write_recording
from tests.data import data_file
from tests.outcomes import KINDS, table_of

TIMESCALE_IMAGE = "timescale/timescaledb:2.29.2-pg18"
NO_TIMESCALE = "TimescaleDB not found"
# Of the servers that tests share; fault tests start servers of their own with the settings of production.
# Autovacuum would hold on to the template, and workers are many.
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "200"}
# Jobs would refresh bars and compress behind a test's back, and hold on to the template.
NO_JOBS = {"timescaledb.max_background_workers": "0"}
RAM_BYTES_MIN = 4 * 2**30  # what the databases of a run may need
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")  # in names that workers must not share
_numbers = itertools.count(1)
_SHARED = pytest.StashKey[Path]()
# An example on a busy machine has no time limit.
hypothesis.settings.register_profile("tickline", deadline=None)
hypothesis.settings.load_profile("tickline")
if WORKER != "main":  # beside other workers, threads of one cost more than they bring
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("TICKLINE_API_PORT", "0")  # tests that ask for the status take a port of their own


@dataclass(frozen=True, slots=True)
class Template:
    """A server of one engine with a migrated database to copy."""

    engine: Engine
    url: str
    superuser: str = SUPERUSER

    @property
    def owner(self) -> str:
        """Whose databases are."""
        return str(conninfo_to_dict(self.url)["user"])

    def admin(self) -> psycopg.Connection[Any]:
        """Connect to the server, but not to the template, which nobody may use while it is copied."""
        return psycopg.connect(self.url_of("postgres"), user=self.superuser, autocommit=True)

    def create(self, name: str, *, empty: bool = False, source_url: str | None = None) -> str:
        """Make a database, empty or a copy of another, which nobody uses: the template if none is named."""
        source = "template0" if empty else urlsplit(source_url or self.url).path[1:]
        with self.admin() as conn:
            conn.execute(
                psql.SQL("create database {} template {} strategy file_copy owner {}").format(
                    psql.Identifier(name), psql.Identifier(source), psql.Identifier(self.owner)
                )
            )
        return self.url_of(name)

    @contextmanager
    def fresh(self, *, empty: bool = False, source_url: str | None = None) -> Iterator[Database]:
        """Make a database, and drop it afterwards."""
        name = f"test_{WORKER}_{next(_numbers)}"
        url = self.create(name, empty=empty, source_url=source_url)
        with Database(url, None, self.engine if empty else None) as database:
            yield database
        self.drop(name)

    def url_of(self, name: str) -> str:
        """Return the URL of another database of this server."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        with self.admin() as conn:
            conn.execute(psql.SQL("drop database if exists {} with (force)").format(psql.Identifier(name)))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path: sockets go into it."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def made_home(home: Path, pytestconfig: pytest.Config) -> Path:
    """The same with the data of a server without TimescaleDB, which was made once: `initdb` takes a second."""
    made = pytestconfig.stash[_SHARED] / "home"
    made.mkdir(exist_ok=True)
    with (made / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "postgres").exists():
            embedded_server(made, use_timescaledb=False).close()
    subprocess.run(["cp", "-a", str(made / "postgres"), str(home)], check=True)
    return home


@pytest.fixture(scope="session")
def session() -> Path:
    """The recorded session: 62,913 frames, 209,928 ticks."""
    return data_file("session-20251215-open.frames.gz")


@pytest.fixture(scope="session")
def short_session(session: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its first 6,000 frames."""
    path = tmp_path_factory.mktemp("recording") / "short.frames.gz"
    frames = islice(read_recording(session), 6_000)
    write_recording(path, ((frame.received_ms, frame.payload) for frame in frames))
    return path


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    return request.param


@pytest.fixture(scope="session")
def templates(pytestconfig: pytest.Config) -> Iterator[Callable[[Engine], Template]]:
    """Return the server of an engine; it is started when first asked for, and runs until the end."""
    with ExitStack() as stack:
        yield cache(lambda engine: stack.enter_context(_server(engine, pytestconfig.stash[_SHARED])))


@pytest.fixture(scope="session")
def template(engine: Engine, templates: Callable[[Engine], Template]) -> Template:
    """The server of the engine, with a migrated database."""
    return templates(engine)


@pytest.fixture
def database(template: Template) -> Iterator[Database]:
    """A fresh migrated database on each engine, dropped afterwards."""
    with template.fresh() as database:
        yield database


@pytest.fixture(scope="module")
def database_to_read(template: Template) -> Iterator[Database]:
    """The same, but one for all tests of a module: they only read what a fixture of theirs has put into it."""
    with template.fresh() as database:
        yield database


@pytest.fixture(scope="module")
def conn_to_read(database_to_read: Database) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection to it."""
    with database_to_read.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def empty_database(template: Template) -> Iterator[Database]:
    """A fresh database without our schema on each engine, dropped afterwards."""
    with template.fresh(empty=True) as database:
        yield database


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection to the fresh database."""
    with database.connect(autocommit=True) as connection:
        yield connection


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all workers have their servers in."""
    if given := getattr(config, "workerinput", None):
        config.stash[_SHARED] = Path(given["shared"])
    else:
        config.stash[_SHARED] = Path(tempfile.mkdtemp(prefix="tl-", dir=_ram()))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker the folder."""
    node.workerinput["shared"] = str(node.config.stash[_SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it when the workers have gone."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[_SHARED], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread the tests our way, unless another is asked for."""
    if config.getvalue("dist") != "loadscope":
        return None
    from tests.workers import Spread

    config.option.loadscopereorder = False
    return Spread(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let a worker report what cannot be sent as it is: a log may name a file whose name is no UTF-8."""
    return _sendable((yield))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Look for garbage neither while tests are collected, nor later in what lives to the end: modules and tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together: servers outlive their use, so their order does not matter."""
    files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: files[item.path])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line how many tests ran on one engine only; print the table of a soak."""
    if terminalreporter.config.option.markexpr == "soak":
        kinds = [kind for kind in KINDS if kind in terminalreporter.stats]
        lines = table_of((kind, report) for kind in kinds for report in terminalreporter.stats[kind])
        for line in ["outcomes of the long run:", *lines] if lines else []:
            terminalreporter.write_line(line)
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_TIMESCALE in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests skipped on the timescale engine: set TIMESCALEDB_DIR or start Docker"
        )


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_sendable, value))
    return value


def _ram() -> Path | None:
    """A folder in memory with room for databases, None where there is none."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free >= RAM_BYTES_MIN else None


@contextmanager
def _server(engine: Engine, shared: Path) -> Iterator[Template]:
    """Use the server that all workers share; the first one makes it, the last one stops it."""
    timescaledb_dir, is_timescale = DatabaseSettings().timescaledb_dir, engine == "timescale"
    if is_timescale and timescaledb.find(timescaledb_dir) is None:
        with _container() as template:
            yield template
        return
    folder = shared / engine
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        with (folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server = stack.enter_context(
                embedded_server(
                    folder,
                    timescaledb_dir=timescaledb_dir,
                    use_timescaledb=is_timescale,
                    settings=FAST | (NO_JOBS if is_timescale else {}),
                )
            )
            if not (folder / "migrated").exists():
                apply.upgrade(Database(server.url(), server), engine)
                (folder / "migrated").touch()
        yield Template(engine, server.url())


@contextmanager
def _container() -> Iterator[Template]:
    """The image that production uses, where a Docker engine answers; each worker has one of its own."""
    containers = pytest.importorskip("testcontainers.postgres", reason=f"{NO_TIMESCALE}, nor testcontainers")
    try:
        container = containers.PostgresContainer(TIMESCALE_IMAGE, driver=None).with_command(
            "postgres -c fsync=off -c shared_preload_libraries=timescaledb -c timescaledb.max_background_workers=0"
        )
        container.start()
    except Exception as exc:  # whatever keeps Docker from answering, the half is skipped with the reason
        pytest.skip(f"{NO_TIMESCALE}, and no Docker engine answers: {type(exc).__name__}")
    try:
        url = container.get_connection_url()
        apply.upgrade(Database(url, None), "timescale")
        yield Template("timescale", url, str(conninfo_to_dict(url)["user"]))
    finally:
        container.stop()
