"""What terminals get: a line of progress that goes again, and tables that fit. A pipe gets whole tables only."""

from __future__ import annotations

import doctest
import io
import os
import pty
import re
import sys

import pytest

from ingest import terminal
from ingest.redaction import FencedStream
from ingest.terminal import CLEAR, FITTED_ROWS_MAX, print_table, progress_bar, progress_line


def test_bar_shows_share_and_time_left_on_a_terminal_goes_for_other_output_and_is_quiet_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as show:
        show("reading", 1, 4)
    assert capsys.readouterr() == ("", "")
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal has no path here
        monkeypatch.setattr(sys, "stderr", FencedStream(stream))
        with progress_bar() as show:
            show("reading [1/2]", 1, 4)
            show("")
            show("reading [2/2]", 3, 4)
        stream.write("END")
        stream.flush()
        shown = ""
        while "END" not in shown:  # a terminal gives it in pieces
            shown += os.read(ours, 2**16).decode()
    os.close(ours)
    assert "reading [2/2]" in shown and "75%" in shown and re.search(r"(\d|-):(\d\d|--):(\d\d|--)", shown)
    assert shown.rindex("\x1b[2K") > shown.rindex("75%")  # it is gone at the end


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


NUMBERS = [f"{number}.50" for number in range(1000, 1003)]
COLUMNS = [["key", "a", "b", "c"], *([f"number {name}", *NUMBERS] for name in "xyz"), ["why", *["[bold] " * 9] * 3]]
NUMERIC = [False, True, True, True, False]


def printed(columns: list[list[str]], numeric: list[bool]) -> str:
    """What a terminal gets."""
    ours, theirs = pty.openpty()
    found = b""
    with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a terminal has no path here
        print_table(columns, numeric, stream)
        stream.write("\0")
        stream.flush()
        while not found.endswith(b"\0"):
            found += os.read(ours, 1000)
    os.close(ours)
    return found.decode().rstrip("\0").replace("\r\n", "\n")


@pytest.mark.parametrize("width", [30, 80, 200])
def test_table_fits_the_terminal_and_cuts_no_cell(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    lines = printed(COLUMNS, NUMERIC).splitlines()
    assert "\x1b" not in "".join(lines) and max(map(len, lines)) <= width
    tables = "\n".join(lines).split("\n\n")
    assert len(tables) == {30: 3, 80: 2, 200: 1}[width]
    assert [len(table.split("number ")) - 1 for table in tables] == {30: [2, 1, 0], 80: [3, 0], 200: [3]}[width]
    words = " ".join(lines).split()
    assert words.count("[bold]") == 27 and [words.count(number) for number in NUMBERS] == [3, 3, 3]
    assert all(table.splitlines()[1].startswith("a ") for table in tables)
    first = tables[0].splitlines()
    assert [line.index(".50") for line in first[1:]] == [first[0].index("number x") + 5] * 3  # to the right


def test_table_of_a_terminal_with_colours_has_a_bold_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    header, *rows = printed(COLUMNS[:2], NUMERIC[:2]).splitlines()
    assert "\x1b[1m" in header and "\x1b" not in "".join(rows)


def test_table_in_a_pipe_is_whole_and_needs_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setitem(sys.modules, "rich.table", None)
    pipe = io.StringIO()
    print_table(COLUMNS, NUMERIC, pipe)
    header, *rows = pipe.getvalue().splitlines()
    assert header == "key  number x  number y  number z  why"
    assert rows[0] == f"a     1000.50   1000.50   1000.50  {'[bold] ' * 9}".rstrip()
    print_table([], [], pipe)
    long = [["n", *map(str, range(FITTED_ROWS_MAX))]]  # rich would take seconds for more
    assert printed(long, [True]).splitlines()[-1] == "999"


def test_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(terminal).failed == 0
