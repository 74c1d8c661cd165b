"""The command `alembic` in a checkout, and upgrades that wait for a lock."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.database import upgrade as apply
from ingest.database.connections import HEAD, Database, recorded_engine, revision
from ingest.errors import Retryable
from tests.conftest import Template
from tests.data import REPOSITORY
from tests.db.test_schema import REVISIONS, describe
from tests.engines import on_one_engine
from tests.processes import ALEMBIC, run_command

WAIT_S = 0.5  # long enough for the watcher to see who holds the lock


def alembic(database: Database, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in the checkout, as people do."""
    given = os.environ | {"TICKLINE_DATABASE_URL": database.url} | environment
    return run_command(arguments, cwd=REPOSITORY, environment=given, program=ALEMBIC, timeout_s=120)


def revision_of(database: Database) -> str | None:
    with database.connect() as connection:
        return revision(connection)


def test_alembic_upgrade_makes_what_our_own_upgrade_makes(
    empty_database: Database, template: Template, engine: str
) -> None:
    ran = alembic(empty_database, "upgrade", "0003", TICKLINE_ENGINE=engine)
    assert (ran.returncode, revision_of(empty_database)) == (0, "0003"), ran.stderr
    ran = alembic(empty_database, "upgrade", "head")
    assert ran.returncode == 0, ran.stderr
    assert f"Running upgrade 0003 -> {REVISIONS[3]}" in ran.stderr
    with empty_database.connect() as ours, psycopg.connect(template.url) as theirs:
        assert recorded_engine(ours) == engine
        assert describe(ours) == describe(theirs)
    assert apply.upgrade(empty_database) == []


@on_one_engine
def test_alembic_knows_history_current_and_stamp(database: Database) -> None:
    assert [line.split()[2].rstrip(",") for line in alembic(database, "history").stdout.splitlines()] == REVISIONS[::-1]
    assert alembic(database, "current").stdout.strip() == f"{HEAD} (head)"
    assert alembic(database, "stamp", REVISIONS[-2]).returncode == 0
    assert revision_of(database) == REVISIONS[-2]


@on_one_engine
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("downgrade", "-1"), "there is no downgrade, because an older program cannot keep"),
        (("upgrade", "head", "--sql"), "SQL is not printed, because it depends on the database's engine"),
    ],
)
def test_alembic_refuses_what_cannot_be_done_and_says_why(
    database_to_read: Database, arguments: tuple[str, ...], said: str
) -> None:
    ran = alembic(database_to_read, *arguments)
    assert ran.returncode != 0
    assert said in ran.stdout + ran.stderr and "Traceback" not in ran.stderr
    assert revision_of(database_to_read) == HEAD


@on_one_engine
def test_alembic_of_an_absent_schema_or_server_is_one_line(empty_database: Database) -> None:
    ran = alembic(empty_database, "stamp", "head")
    assert ran.returncode != 0
    assert "run `tickline db upgrade`" in ran.stdout + ran.stderr and "Traceback" not in ran.stderr
    ran = alembic(empty_database, "current", TICKLINE_DATABASE_URL="postgresql://me:hunter2@127.0.0.1:9/none")
    assert "cannot be reached" in ran.stdout + ran.stderr and "hunter2" not in ran.stdout + ran.stderr


@on_one_engine
@pytest.mark.parametrize("older", ["0002"], indirect=True)
def test_upgrade_behind_a_long_reader_gives_up_names_it_and_changes_nothing(
    older: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.cli import group

    before = _catalog(older)
    with older.connect(application_name="grafana") as reader:
        reader.execute("select count(*) from best_bars_1m")
        waiting = Database(older.url, None, upgrade_lock_timeout_s=WAIT_S)
        with pytest.raises(Retryable) as caught:
            apply.upgrade(waiting)
        text = str(caught.value)
        for part in (
            f"upgrade waited {WAIT_S:g} s for a lock of pid {reader.info.backend_pid} (grafana, user 'tickline_owner', "
            "transaction open for ",
            " s, 'select count(*) from best_bars_1m')",
            f"pg_terminate_backend({reader.info.backend_pid})",
            "run `tickline db upgrade`",
        ):
            assert part in text
        assert _catalog(older) == before
        # The same by the command, and the setting.
        monkeypatch.setenv("TICKLINE_DATABASE_URL", older.url)
        monkeypatch.setenv("TICKLINE_UPGRADE_LOCK_TIMEOUT_S", f"{WAIT_S}")
        ran = CliRunner().invoke(group, ["db", "upgrade"])
        assert isinstance(ran.exception, Retryable) and "(grafana, user" in str(ran.exception)
        ran_by_alembic = alembic(older, "upgrade", "head")
        assert "(grafana, user" in ran_by_alembic.stdout + ran_by_alembic.stderr
        assert _catalog(older) == before
    assert apply.upgrade(older)[-1] == HEAD


def _catalog(database: Database) -> Any:
    """Everything that an upgrade could have changed."""
    with database.connect() as connection:
        return revision(connection), describe(connection)
