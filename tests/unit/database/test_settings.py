"""Names of settings: one that begins like ours and is none is an error, not a wish that nobody heard."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest.cli import group
from ingest.database.settings import PREFIX, DatabaseSettings, check_names, load
from ingest.errors import ConfigError
from ingest.settings import Settings, settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder whose `.env` is read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TICKLINE_STANBY", "TICKLINE_STANDBY"),
        ("tickline_univers", "TICKLINE_UNIVERSE"),
        ("TICKLINE_DATABASE_ULR", "TICKLINE_DATABASE_URL"),
        ("TICKLINE_OPTIONS_STRIKES", "TICKLINE_OPTION_STRIKES"),
    ],
)
def test_mistyped_name_is_an_error_with_the_nearest_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    (folder / ".env").write_text(f"UPSTOX_NEW_THING=1\n{name}=x\n")
    with pytest.raises(ConfigError, match=f"setting '{name.upper()}' in .env does not exist: write {meant}$"):
        settings()
    (folder / ".env").unlink()
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=f"setting '{name.upper()}' in the environment does not exist: write {meant}"):
        settings()


def test_reading_commands_refuse_a_mistyped_name_of_the_database(folder: Path) -> None:
    (folder / ".env").write_text("TICKLINE_DATABASE_ULR=postgresql://elsewhere/x\n")
    with pytest.raises(ConfigError, match="write TICKLINE_DATABASE_URL"):  # and do not read the embedded one instead
        load(DatabaseSettings)


def test_unknown_name_in_the_file_is_an_error_in_the_environment_another_programs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TICKLINE_SERVICE_HOST", "TICKLINE_PORT", "TICKLINE_PORT_8788_TCP_ADDR", "TICKLINE_TEST_DATA"):
        monkeypatch.setenv(name, "x")
    settings()
    (folder / ".env").write_text("TICKLINE_COLOUR=red\n")
    with pytest.raises(ConfigError, match="setting 'TICKLINE_COLOUR' in .env does not exist: correct its name"):
        settings()


def test_every_name_is_taken_by_all_commands(folder: Path) -> None:
    names = [f"{PREFIX}{name}".upper() for name in Settings.model_fields] + ["TIMESCALEDB_DIR", "UPSTOX_API_KEY"]
    (folder / ".env").write_text("".join(f"{name}=x\n" for name in names))
    check_names(Settings)
    check_names(DatabaseSettings)


@pytest.mark.parametrize("command", [["db", "status"], ["sql", "select 1"], ["bars", "X"], ["start"], ["verify"]])
def test_every_command_refuses_a_mistyped_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    (folder / ".env").write_text("TICKLINE_STANBY=true\n")
    monkeypatch.setattr("sys.argv", ["tickline", *command])
    ran = CliRunner().invoke(group, command)
    assert isinstance(ran.exception, ConfigError)
    assert str(ran.exception) == "setting 'TICKLINE_STANBY' in .env does not exist: write TICKLINE_STANDBY"
    for asked in (["--help"], [*command, "--help"]):
        monkeypatch.setattr("sys.argv", ["tickline", *asked])
        assert CliRunner().invoke(group, asked).exit_code == 0


def test_pool_is_not_larger_at_rest_than_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLINE_POOL_MIN", "5")
    with pytest.raises(ConfigError, match="TICKLINE_POOL_MAX has the wrong value 4: .*TICKLINE_POOL_MIN, 5"):
        settings()
    assert settings(pool_max=5).pool_min == 5


def test_tilde_means_the_users_home_in_every_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".env").write_text("TICKLINE_HOME=~/ticks\nTIMESCALEDB_DIR=~/timescale\nTICKLINE_UNIVERSE_FILE=~/keys\n")
    found = settings()
    assert (found.home, load(DatabaseSettings).home) == (folder / "ticks", folder / "ticks")
    assert found.journal_folder.is_relative_to(folder / "ticks")
    assert (found.timescaledb_dir, found.universe_file) == (folder / "timescale", folder / "keys")
    (folder / ".env").write_text("TICKLINE_HOME=~nobody-of-this-name/ticks\n")
    with pytest.raises(ConfigError, match="TICKLINE_HOME has the wrong value .*: write the whole path"):
        settings()


def test_log_level_of_the_settings_counts_unless_the_command_line_has_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)  # afterwards as it was
    (folder / ".env").write_text("TICKLINE_LOG_LEVEL=Warning\n")
    monkeypatch.setattr("sys.argv", ["tickline", "config"])
    for options, level in (
        ([], logging.WARNING),
        (["--log-level", "error"], logging.ERROR),
        (["--debug"], logging.DEBUG),
    ):
        root.setLevel("DEBUG" if "--debug" in options else (options or ["info"])[-1].upper())  # as without pytest's
        assert CliRunner().invoke(group, [*options, "config"]).exit_code == 0
        assert root.level == level
    (folder / ".env").write_text("TICKLINE_LOG_LEVEL=loud\n")
    with pytest.raises(ConfigError, match="TICKLINE_LOG_LEVEL has the wrong value 'loud'"):
        settings()
