"""The command line as a user meets it: processes, exit codes, one-line errors."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.journal.recording import read_recording, write_recording
from ingest.settings import Settings
from tests.data import REPOSITORY, data_file
from tests.engines import on_one_engine
from tests.processes import run_command
from tests.wheels import unpacked_wheel

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


def tickline(*arguments: str, timeout_s: float = 180, cwd: Path | None = None, **environment: str) -> Any:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKLINE_", "UPSTOX_"))}
    given = clean | {"PYTHONPATH": str(REPOSITORY)} | environment
    return run_command(arguments, cwd=cwd or REPOSITORY, environment=given, timeout_s=timeout_s)


def assert_fails(ran: Any, *parts: str) -> None:
    """One line that says what is wrong, and exit code 1."""
    assert ran.returncode == 1, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("tickline: ")]
    assert len(lines) == 1
    assert "Traceback" not in ran.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.frames.gz"
    frames = (frame for frame, _ in zip(read_recording(data_file("session-20251215-open.frames.gz")), range(500)))
    write_recording(path, ((frame.received_ms, frame.payload) for frame in frames))
    return path


def test_help_lists_every_command_and_each_has_its_own() -> None:
    ran = tickline("--help")
    assert ran.returncode == 0
    for name in ("bars", "bench", "db", "demo", "replay", "simulate", "sql", "start", "ticks"):
        assert f"  {name}" in ran.stdout
        assert tickline(name, "--help").returncode == 0


def test_wrong_usage_exits_2() -> None:
    assert tickline("start", "--mode", "everything").returncode == 2
    assert tickline("nothing").returncode == 2
    assert tickline("simulate").returncode == 2


@on_one_engine
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("config", 0), ("db status", 0), ("sql 'select generate_series(1, 50000)' --format csv", 0), ("nosuch", 2)],
)
def test_reader_that_went_away_ends_a_command_quietly(database: Database, arguments: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"TICKLINE_DATABASE_URL": database.url}
    command = [sys.executable, "-m", "ingest.cli", *shlex.split(arguments)]
    ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment, timeout=180, check=False)
    assert (ran.returncode, b"Traceback" in ran.stderr, b"rror" in ran.stderr) == (code, False, False)
    ran = subprocess.run(command, stdout=write, stderr=write, env=environment, timeout=180, check=False)
    os.close(write)
    assert ran.returncode == code


def test_replay_into_an_empty_database_makes_the_schema(empty_database: Database, short: Path) -> None:
    ran = tickline("replay", str(short), TICKLINE_DATABASE_URL=empty_database.url)
    assert ran.returncode == 0, ran.stderr
    assert "500 frames" in ran.stdout
    again = tickline("replay", str(short), TICKLINE_DATABASE_URL=empty_database.url)
    assert "0 ticks written, 500 frames already in the ledger" in again.stdout
    bars = tickline("bars", "NSE_EQ|INE118H01025", "--format", "csv", TICKLINE_DATABASE_URL=empty_database.url)
    header, *lines = bars.stdout.splitlines()
    assert header == "instrument_key,bucket,open,high,low,close,volume,oi,source,quality,iv,delta,gamma"
    assert lines[0].startswith("NSE_EQ|INE118H01025,2025-12-15T04:0")


@on_one_engine
def test_replay_of_a_cut_recording_says_what_was_written(database: Database, short: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.frames.gz"
    cut.write_bytes(short.read_bytes()[:-2000])
    ran = tickline("replay", str(cut), TICKLINE_DATABASE_URL=database.url)
    assert_fails(ran, "cut short", "frames before it are good")
    assert "ticks written" in ran.stdout


@on_one_engine
def test_start_without_a_token_names_the_setting(database: Database) -> None:
    assert_fails(
        tickline("start", "INFY", TICKLINE_DATABASE_URL=database.url), "no access token", "UPSTOX_ACCESS_TOKEN"
    )


@on_one_engine
def test_unknown_instrument_names_near_matches(database: Database, short: Path) -> None:
    tickline("replay", str(short), TICKLINE_DATABASE_URL=database.url)
    ran = tickline("bars", "NSE_EQ|INE118H01026", TICKLINE_DATABASE_URL=database.url)
    assert_fails(ran, "'NSE_EQ|INE118H01026'", "NSE_EQ|INE118H01025")


def test_database_unreachable_names_host_and_remedy_not_the_password() -> None:
    url = NOWHERE.replace("nobody", "nobody:secret")
    ran = tickline("bars", "INFY", TICKLINE_DATABASE_URL=url)
    assert_fails(ran, "127.0.0.1:9", "TICKLINE_DATABASE_URL")
    assert "secret" not in ran.stderr + ran.stdout


@on_one_engine
def test_newer_schema_is_refused_by_every_command(database: Database, short: Path) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute("update tickline.alembic_version set version_num = '9999'")
    for arguments in (["replay", str(short)], ["bars", "INFY"], ["db", "upgrade"]):
        assert_fails(tickline(*arguments, TICKLINE_DATABASE_URL=database.url), "'9999'", "newer")


def test_wrong_setting_is_one_clear_line(tmp_path: Path) -> None:
    assert_fails(tickline("db", "status", TICKLINE_ENGINE="oracle"), "TICKLINE_ENGINE", "'oracle'", "timescale")
    (tmp_path / ".env").write_text("TICKLINE_BATCH_ROWS_MAX=many\n")
    ran = tickline("start", "X", cwd=tmp_path, TICKLINE_DATABASE_URL=NOWHERE)
    assert_fails(ran, "TICKLINE_BATCH_ROWS_MAX", "'many'")


def test_missing_file_is_wrong_usage() -> None:
    ran = tickline("replay", "no-such-file.frames.gz")
    assert ran.returncode == 2
    assert "no-such-file" in ran.stderr


def test_env_example_lists_every_setting_with_its_default() -> None:
    listed = dict(
        line.split("=", 1)
        for line in (REPOSITORY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    known = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        known[alias.choices[0] if alias is not None else f"TICKLINE_{name}".upper()] = field
    assert set(listed) - {"POSTGRES_PASSWORD"} == set(known)
    for name, text in listed.items():
        if text:
            default = known[name].get_default(call_default_factory=True)
            default = ",".join(default) if isinstance(default, tuple) else default
            assert str(default).rstrip("/").removesuffix(".0").lower() == text.lower(), name


def test_config_prints_a_settings_file_that_sets_what_is_set_anyway(tmp_path: Path) -> None:
    ran = tickline("config", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, (REPOSITORY / ".env.example").read_text())
    (tmp_path / ".env").write_text(ran.stdout)
    assert_fails(tickline("start", "INFY", cwd=tmp_path, TICKLINE_DATABASE_URL=NOWHERE), "no access token")


@on_one_engine
def test_wheel_carries_its_sql_migrations_and_settings(empty_database: Database, tmp_path: Path) -> None:
    """Built from the tree, unpacked into an empty folder, and run from there."""
    _, site = unpacked_wheel(tmp_path, CFLAGS="-O0")
    assert not (site / "alembic").exists()
    assert all((site / package / "py.typed").is_file() for package in ("analytics", "ingest"))
    for room in ("decode", "normalise", "store"):
        assert list((site / "ingest" / room).glob("compiled.*.so")), "it needs a C compiler and Python's headers"
    assert not (site / "sql").exists()
    deploy = REPOSITORY / "ingest" / "deploy"
    files = {path.relative_to(deploy) for path in deploy.rglob("*") if path.is_file()}
    assert files == {path.relative_to(site / "ingest" / "deploy") for path in (site / "ingest" / "deploy").rglob("*.*")}
    code = "import ingest, alembic.command; print(ingest.__file__); from ingest.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "db", "upgrade"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=180,
        env=os.environ | {"PYTHONPATH": str(site), "TICKLINE_DATABASE_URL": empty_database.url},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(site))
    assert empty_database.engine
    ran = subprocess.run(
        [sys.executable, "-c", code, "config"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    assert ran.stdout.endswith((REPOSITORY / ".env.example").read_text())
