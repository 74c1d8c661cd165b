"""`tickline config show`: where each value comes from, and no secret; and what a shell completes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from ingest import cli
from ingest.settings import Settings


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("TICKLINE_", "UPSTOX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def shown(*arguments: str) -> dict[str, tuple[str, str]]:
    ran = CliRunner().invoke(cli.group, ["config", "show", "--format", "json", *arguments])
    assert ran.exit_code == 0, ran.output
    return {one["setting"]: (one["value"], one["source"]) for one in json.loads(ran.stdout)}


def test_show_says_where_each_value_comes_from_and_masks_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "TICKLINE_MODE=ltpc\nTICKLINE_UNIVERSE=INFY, NIFTY FUT\nUPSTOX_ACCESS_TOKEN=tok-of-nobody\nTICKLINE_PLUS=\n"
    )
    monkeypatch.setenv("TICKLINE_MODE", "full_d30")
    monkeypatch.setenv("TICKLINE_DATABASE_URL", "postgresql://me:pass-of-nobody@db/x")
    found = shown()
    assert len(found) == len(Settings.model_fields)
    assert found["TICKLINE_MODE"] == ("full_d30", "environment")
    assert found["TICKLINE_UNIVERSE"] == ("INFY,NIFTY FUT", ".env")
    assert found["UPSTOX_ACCESS_TOKEN"] == ("***", ".env") and found["UPSTOX_API_SECRET"] == ("", "default")
    assert found["TICKLINE_DATABASE_URL"] == ("***", "environment")
    assert found["TICKLINE_PLUS"] == ("false", "default") and found["TICKLINE_STOP_S"] == ("4", "default")
    changed = {"TICKLINE_MODE", "TICKLINE_UNIVERSE", "UPSTOX_ACCESS_TOKEN", "TICKLINE_DATABASE_URL"}
    assert set(shown("--changed")) == changed
    text = CliRunner().invoke(cli.group, ["config", "show"]).stdout
    assert "of-nobody" not in text
    assert text.splitlines()[1].split() == ["TICKLINE_DATABASE_URL", "***", "environment"]


def test_default_that_is_shown_means_the_same_in_a_settings_file(tmp_path: Path) -> None:
    usual = shown()
    given = {name: value for name, (value, _) in usual.items() if value != "***"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    assert {name: value for name, (value, _) in shown().items()} == {name: value for name, (value, _) in usual.items()}


def test_shell_completes_commands_without_importing_them_and_options() -> None:
    loaded = set(sys.modules)
    complete = BashComplete(cli.group, {}, "tickline", cli.COMPLETE)
    assert [one.value for one in complete.get_completions([], "st")] == ["start", "status"]
    assert set(sys.modules) == loaded
    assert [one.value for one in complete.get_completions(["config"], "s")] == ["show"]
    assert "--watch" in [one.value for one in complete.get_completions(["status"], "--w")]


def test_completion_of_a_shell_gets_through_the_fence_of_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cli.COMPLETE, "bash_source")
    monkeypatch.setattr(sys, "argv", ["tickline"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0 and "complete -o nosort -F _tickline_completion tickline" in capfd.readouterr().out
