"""The settings file in the encodings that editors write, and what no error may tell of it."""

from __future__ import annotations

import os
import stat
import traceback
from pathlib import Path

import pytest

from ingest.cli.record.login import store_token
from ingest.env_file import read_env, read_text, with_setting
from ingest.errors import ConfigError
from ingest.settings import settings
from ingest.time_source import TimeSource
from ingest.upstox.tokens import Tokens
from tests.processes import run_command

SECRETS = ("t0ken-of-nobody", "s3cret-of-nobody", "hunter2")
TEXT = (
    "# réglages du poste\nUPSTOX_ACCESS_TOKEN=t0ken-of-nobody\nUPSTOX_API_SECRET='s3cret-of-nobody'\n"
    "TICKLINE_DATABASE_URL=postgresql://u:hunter2@db/x\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing of the environment's settings."""
    for name in [name for name in os.environ if name.startswith(("TICKLINE_", "UPSTOX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_env_file_is_read_in_each_encoding_that_says_what_it_is_and_a_token_written_in_it(
    folder: Path, encoding: str, newline: str
) -> None:
    path = folder / ".env"
    path.write_bytes(TEXT.replace("\n", newline).encode(encoding))
    config = settings()
    assert config.token().get_secret_value() == SECRETS[0]
    assert config.upstox_api_secret is not None and config.upstox_api_secret.get_secret_value() == SECRETS[1]
    store_token(path, "new")
    assert settings().token().get_secret_value() == "new"
    text, found = read_text(path)
    assert text == TEXT.replace("UPSTOX_ACCESS_TOKEN=t0ken-of-nobody\n", "").replace("\n", newline) + (
        "UPSTOX_ACCESS_TOKEN=new\n"
    )
    assert found.startswith(encoding.removesuffix("-sig").removesuffix("-le").removesuffix("-be"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_with_setting_keeps_quoted_lines_and_what_is_not_understood() -> None:
    text = "A='one\nT=inside\ntwo'\nexport T=old # c\nnot a setting\nB=\u20282"
    assert with_setting(text, "T", "new") == "A='one\nT=inside\ntwo'\nnot a setting\nB=\u20282\nT=new\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode("cp1252"), r"\.env' line 1 is not UTF-8: save"),
        (b"A=1\n" + TEXT.encode("cp1252"), r"\.env' line 2 is not UTF-8: save"),
        (TEXT.encode("utf-16") + b"x", r"\.env' line 5 is not UTF-16: save"),
        (TEXT.encode() * 20_000, r"\.env' has more than 1048576 bytes"),
    ],
)
def test_env_file_that_cannot_be_read_is_one_line_that_tells_no_value(folder: Path, data: bytes, said: str) -> None:
    (folder / ".env").write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        settings()
    told = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert not any(secret in told for secret in SECRETS)
    with pytest.raises(ConfigError, match=said):
        store_token(folder / ".env", "new")
    assert (folder / ".env").read_bytes() == data


@pytest.mark.parametrize("given", ["t0ken-of-nobody é", "t0ken-of-nobody\x00", "two t0ken-of-nobody", "t0ken\udce9"])
def test_token_that_no_header_can_carry_is_said_without_it(folder: Path, given: str) -> None:
    with pytest.raises(ConfigError, match="UPSTOX_ACCESS_TOKEN is wrong: .* one word") as caught:
        settings(upstox_access_token=given)
    assert "t0ken" not in "".join(traceback.format_exception(caught.value))
    assert settings(upstox_access_token=" good\r\n").token().get_secret_value() == "good"


def test_wrong_value_beside_secrets_tells_no_other_value_with_its_traceback(folder: Path) -> None:
    (folder / ".env").write_text(TEXT + "TICKLINE_BATCH_ROWS_MAX=many\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="TICKLINE_BATCH_ROWS_MAX has the wrong value 'many'") as caught:
        settings()
    assert not any(secret in "".join(traceback.format_exception(caught.value)) for secret in SECRETS)


def test_token_source_that_cannot_be_read_is_said_once_and_read_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / ".env"
    path.write_text("UPSTOX_ACCESS_TOKEN=first-of-nobody\n")
    tokens = Tokens(settings(), TimeSource())
    tokens.refuse("first-of-nobody")
    for data in (TEXT.encode("cp1252"), TEXT.encode("cp1252"), b"UPSTOX_ACCESS_TOKEN=two words\n"):
        path.write_bytes(data)
        assert not tokens._choose()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "line 1 is not UTF-8" in caplog.text and "one word" in caplog.text
    assert not any(secret in caplog.text for secret in (*SECRETS, "two words"))
    path.write_text(TEXT, encoding="utf-8")
    assert tokens._choose() and tokens.current() == SECRETS[0]


def test_no_command_shows_a_value_of_an_env_file_that_is_not_utf8(folder: Path) -> None:
    (folder / ".env").write_bytes(TEXT.encode("cp1252"))
    for arguments in (["--debug", "start", "INFY"], ["login"]):
        done = run_command(arguments, cwd=folder, environment={"PATH": os.environ["PATH"], "HOME": str(folder)})
        assert done.returncode == 1 and "line 1 is not UTF-8" in done.stderr.splitlines()[-1]
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


def test_settings_file_that_is_not_there_or_a_folder_sets_nothing(folder: Path) -> None:
    assert read_env() == {}
    (folder / ".env").mkdir()
    assert read_env() == {}


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_env_file_that_others_can_read_is_warned_about_at_start(folder: Path, mode: int, warned: bool) -> None:
    (folder / ".env").write_text("UPSTOX_API_SECRET=s3cret-of-nobody\n")
    (folder / ".env").chmod(mode)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = run_command(["start", "INFY"], cwd=folder, environment=environment)
    assert ("run `chmod 600 .env`" in done.stderr) == warned
    assert "no access token" in done.stderr and "s3cret" not in done.stderr


def test_line_that_sets_nothing_is_named_once_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / ".env"
    file.write_text('A=1\n\nTOKEN="hunter2-never-closed\nB=2\n')
    assert read_env(file) == read_env(file) == {"A": "1", "B": "2"}
    said = [record.getMessage() for record in caplog.records if record.name == "ingest.env_file"]
    assert said == [
        f"settings file '{file}' line 3 does not parse and is skipped: write NAME=value and close all quotes"
    ]
