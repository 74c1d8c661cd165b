"""Log files: their form, their rotation by several processes, and disks that refuse them."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from ingest import cli
from ingest.cli.log_files import LINES_MAX, LogFiles, RotatingFile
from ingest.cli.log_lines import pairs
from ingest.errors import ConfigError
from ingest.redaction import hide
from ingest.settings import LogSettings

log = logging.getLogger("ingest.test")
HIDDEN = "hunter2-of-nobody"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Any]:
    opened = []
    level = logging.getLogger().level

    def open_(**given: Any) -> LogFiles:
        logging.getLogger().setLevel(logging.INFO)
        opened.append(LogFiles(LogSettings(home=tmp_path / "home", **given), "start"))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()
    logging.getLogger().setLevel(level)


def lines(home: Path, name: str) -> list[str]:
    return (home / "home" / "logs" / name).read_text(encoding="utf-8").splitlines()


def test_text_has_each_level_in_its_files_and_no_secret(files: Any, tmp_path: Path) -> None:
    hide(HIDDEN)
    opened = files()
    log.debug("not wanted")
    log.info("batch written rows=%d", 3)
    log.warning("feed lost url=wss://x/?code=%s", HIDDEN)
    logging.getLogger("analytics.signals.log").info("%s", '{"a": 1}')
    opened.failed("database is away: start it")
    opened.close()
    log.warning("after the end")
    told = lines(tmp_path, "tickline.log")
    assert [line.split(" IST ")[1].replace(str(os.getpid()), "N") for line in told] == [
        "INFO start[N] ingest.test batch written rows=3",
        "WARNING start[N] ingest.test feed lost url=wss://x/?code=***",
        "ERROR start[N] tickline database is away: start it",
    ]
    assert lines(tmp_path, "errors.log") == told[1:]
    assert lines(tmp_path, "signals.log") == ['{"a": 1}']


def test_json_is_one_object_per_line_with_its_pairs_and_traceback(files: Any, tmp_path: Path) -> None:
    hide(HIDDEN)
    opened = files(log_format="json")
    log.info('quoted "x" password=%s', HIDDEN)
    try:
        raise ValueError(f"line\nbreak {HIDDEN}")
    except ValueError:
        log.exception("handler failed name=%s tries=%d", "mine", 2)
    opened.close()
    first, second = map(json.loads, lines(tmp_path, "tickline.log"))
    assert first["message"] == 'quoted "x" password=***' and first["fields"] == {"password": "***"}
    assert second["event"] == "handler failed" and second["fields"] == {"name": "mine", "tries": 2}
    assert (second["level"], second["command"], second["pid"]) == ("ERROR", "start", os.getpid())
    assert "ValueError: line\nbreak ***" in second["traceback"] and second["at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("message", "event", "fields"),
    [
        ("stopped", "stopped", {}),
        ("a b x=1 y=-2.5 z=", "a b", {"x": 1, "y": -2.5, "z": ""}),
        ("lost at=10:00 IST error=refused code=4 x=1", "lost", {"at": "10:00 IST", "error": "refused code=4 x=1"}),
        ("x=1 begins", "x=1 begins", {}),
    ],
)
def test_pairs_of_a_message(message: str, event: str, fields: dict[str, Any]) -> None:
    assert pairs(message) == (event, fields)


def test_processes_that_rotate_one_file_lose_no_line_and_tear_none(tmp_path: Path) -> None:
    path, wrote, many = tmp_path / "logs" / "tickline.log", 3, 400
    children = []
    for number in range(wrote):
        if not (child := os.fork()):
            file = RotatingFile(path, bytes_max=2_000, files_max=100)
            for line in range(many):
                file.append(f"{number} {line} {'x' * 20}")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * wrote
    found = [line for file in path.parent.glob("tickline.log*") for line in file.read_text().splitlines()]
    assert Counter(found) == Counter(f"{number} {line} {'x' * 20}" for number in range(wrote) for line in range(many))
    assert len(list(path.parent.glob("tickline.log*"))) > 3


def test_rotation_keeps_so_many_full_files_and_drops_those_of_a_larger_number(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    (tmp_path / "x.log.7").write_text("from before")
    file = RotatingFile(path, bytes_max=10, files_max=2)
    for number in range(5):
        file.append(f"line {number:5}")
    file.close()
    kept = {one.name: one.read_text() for one in tmp_path.glob("x.log*")}
    assert kept == {f"x.log{end}": f"line {number:5}\n" for end, number in (("", 4), (".1", 3), (".2", 2))}


def test_file_that_another_program_moved_or_removed_is_begun_again_but_no_removed_home(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "x.log"
    file = RotatingFile(path, bytes_max=1_000, files_max=1)
    file.append("a")
    path.rename(tmp_path / "moved")
    file.append("b")
    assert path.read_text() == "b\n"
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        file.append("c")
    assert not path.parent.exists()


@pytest.mark.parametrize("fault", ["full", "folder"])
def test_log_that_cannot_be_written_is_said_once_stops_nothing_and_goes_on(
    fault: str, files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "home" / "logs"
    folder.mkdir(parents=True)
    path = folder / "tickline.log"
    path.symlink_to("/dev/full") if fault == "full" else path.mkdir()
    opened = files()
    for number in range(3):
        log.info("lost n=%d", number)
    log.warning("kept in the other")
    opened.close()
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    assert len(said) == 1 and str(path) in said[0] and {"full": "No space", "folder": "directory"}[fault] in said[0]
    assert len(lines(tmp_path, "errors.log")) == 1
    path.unlink() if fault == "full" else path.rmdir()
    opened = files()
    log.info("again")
    opened.close()
    assert "again" in lines(tmp_path, "tickline.log")[-1]


def test_disk_that_hangs_delays_nobody_and_what_was_dropped_is_counted(files: Any, tmp_path: Path) -> None:
    """A named pipe that nobody reads hangs whoever opens it."""
    folder = tmp_path / "home" / "logs"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "tickline.log")
    opened = files()
    for _ in range(LINES_MAX + 12):
        log.info("x")
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.extend((folder / "tickline.log").read_text().splitlines()))
    reader.start()
    opened.close()
    reader.join(60)
    (dropped,) = (line for line in told if "dropped" in line)
    assert int(dropped.rpartition("=")[2]) + len(told) - 1 == LINES_MAX + 12


def test_signals_of_an_earlier_version_are_moved_once(files: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "signals.log").write_text('{"old": 1}\n')
    opened = files()
    logging.getLogger("analytics.signals.log").info("new")
    opened.close()
    assert lines(tmp_path, "signals.log") == ['{"old": 1}', "new"] and not (home / "signals.log").exists()
    (home / "signals.log").write_text("of an older program\n")
    files().close()
    assert (home / "signals.log").read_text() == "of an older program\n"


@pytest.mark.parametrize("fault", [ConfigError("that is wrong: correct it"), RuntimeError(f"bug {HIDDEN}")])
def test_error_that_ends_a_command_is_in_its_log_a_bug_with_its_traceback(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def bad() -> None:
        raise fault

    hide(HIDDEN)
    monkeypatch.setenv("TICKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(cli, "WRITE_LOG_FILES", {"bad"})
    monkeypatch.setitem(cli.COMMANDS, "bad", "tests.unit.cli.test_log_files:bad")
    monkeypatch.setattr(sys.modules[__name__], "bad", bad, raising=False)
    monkeypatch.setattr(sys, "argv", ["tickline", "bad"])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))  # which `main` puts a fence round
    with pytest.raises(SystemExit):
        cli.main()
    text = "\n".join(lines(tmp_path, "errors.log"))
    assert text.count("Traceback") == isinstance(fault, RuntimeError) and HIDDEN not in text
    assert capsys.readouterr().err.removeprefix("tickline: ").strip() in text


def test_command_that_only_reads_makes_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TICKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(sys, "argv", ["tickline", "config"])
    cli.main()
    assert "TICKLINE_LOG_FORMAT" in capsys.readouterr().out and not (tmp_path / "home").exists()
