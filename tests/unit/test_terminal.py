"""The line of progress: on a terminal it is written over itself and goes, elsewhere there is none."""

from __future__ import annotations

import io
import os
import pty
import sys

import pytest

from ingest import terminal
from ingest.redaction import FencedStream
from ingest.terminal import CLEAR, progress_line


def test_line_is_written_over_itself_on_a_terminal_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()

    def shown(count: int) -> str:
        """What the terminal has: it gives it in pieces."""
        found = b""
        while len(found) < count:
            found += os.read(ours, 1000)
        return found.decode()

    monkeypatch.setenv("COLUMNS", "12")
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal has no path here
        monkeypatch.setattr(sys, "stderr", FencedStream(stream))
        monkeypatch.setattr(terminal, "EVERY_S", 0)
        with progress_line() as show:
            show("1 of 3")
            show("a text wider than the terminal")
        expected = f"{CLEAR}1 of 3{CLEAR}a text wide{CLEAR}"
        assert shown(len(expected)) == expected
        monkeypatch.setattr(terminal, "EVERY_S", 60)
        with progress_line() as show:
            for number in range(1000):
                show(str(number))
            show("")
        expected = f"{CLEAR}0{CLEAR}{CLEAR}"
        assert shown(len(expected)) == expected
        with progress_line():
            pass
        stream.write("end")
    assert shown(3) == "end"
    os.close(ours)


def test_there_is_no_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_line() as show:
        show("1 of 3")
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
