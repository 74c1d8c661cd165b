"""Output for a terminal: progress, overwritten in place, and tables that fit its width."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

EVERY_S = 0.2  # fast enough for an eye
FITTED_ROWS_MAX = 1_000  # rich takes 0.8 ms a row, ours 2 us; nobody reads more on a terminal
GAP = 2  # between columns
BAR_CHARS = 20
CLEAR = "\r\x1b[2K"  # return to the start of the line and erase it


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text in place of the previous one; an empty text removes the line.

    Skips texts that come faster than every `EVERY_S` seconds. Removes the line at the end. Writes nothing to a pipe
    or file.
    """
    is_terminal = sys.stderr.isatty()
    shown_at: float | None = None

    def show(text: str) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if is_terminal and (shown_at is None or now - shown_at >= EVERY_S or not text):
            shown_at = now
            sys.stderr.write(f"{CLEAR}{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        if shown_at is not None:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()


class Progress(Protocol):
    """Shows how far a long work is."""

    def __call__(self, text: str, done: float = 0, total: float | None = None) -> None:
        """Show a text and how much of the total is done, in any unit; "" hides it, for other output."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a function that shows progress with the time that is left, in one line that goes at the end.

    Writes nothing to a pipe or file.
    """
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    from rich.console import Console  # noqa: PLC0415  takes 50 ms to import, which a pipe need not wait
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR_CHARS),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    # Output of the command goes its own way: rich would send it to stderr.
    options = {"transient": True, "refresh_per_second": 2, "redirect_stdout": False, "redirect_stderr": False}
    with Bar(*columns, console=Console(file=sys.stderr, highlight=False), **options) as bar:  # type: ignore[arg-type]
        task = bar.add_task("", total=None, visible=False)

        def show(text: str, done: float = 0, total: float | None = None) -> None:
            bar.update(task, description=text, completed=done, total=total, visible=bool(text))
            if not text:
                bar.refresh()

        yield show


def _show_nothing(text: str, done: float = 0, total: float | None = None) -> None:
    """Show nothing: nobody looks on."""


def print_table(columns: Sequence[Sequence[str]], numeric: Sequence[bool], stream: TextIO) -> None:
    """Print a table with right-aligned numbers, fitted to a terminal; in a pipe or file one line per row.

    On a narrow terminal, splits the columns into several tables, one below the other, and never cuts a number.

    Parameters
    ----------
    columns
        Header and cells of each column, all of one length, each cell one line.
    numeric
        Whether each column has numbers.
    stream
        The stream to print to.
    """
    if stream.isatty() and columns and len(columns[0]) <= FITTED_ROWS_MAX:
        _print_fitted(columns, numeric, stream)
    else:
        stream.write(aligned(columns, numeric))
    stream.flush()


def aligned(columns: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    """Return a table as text, one line per row, of any width."""
    widths = [max(map(len, cells)) for cells in columns]
    lines = (
        (" " * GAP)
        .join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        .rstrip()
        for line in zip(*columns, strict=True)
    )
    return "\n".join(lines) + "\n"


def _print_fitted(columns: Sequence[Sequence[str]], numeric: Sequence[bool], stream: TextIO) -> None:
    from rich.cells import cell_len  # noqa: PLC0415  takes 50 ms to import, which a pipe need not wait
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=stream, highlight=False)
    widths = [max(map(cell_len, cells)) for cells in columns]
    for number, block in enumerate(_blocks(widths, numeric, console.width)):
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="" if console.no_color else "bold")
        for column in block:
            header, justify = Text(columns[column][0]), "right" if numeric[column] else "left"
            table.add_column(header, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in zip(*(columns[column][1:] for column in block), strict=True):
            table.add_row(*map(Text, row))
        if number:
            console.print()
        console.print(table)


def _blocks(widths: Sequence[int], numeric: Sequence[bool], room: int) -> list[list[int]]:
    """Return the columns of each table. Each repeats the leading text columns, which name the row, if there is room.

    >>> _blocks([6, 5, 5, 5], [False, True, True, True], 20)
    [[0, 1, 2], [0, 3]]
    """
    named = [*numeric, True].index(True)
    if sum(widths[:named]) + GAP * named > room * 2 // 3:
        named = 0
    blocks, end = [list(range(named))], sum(widths[:named]) + GAP * named
    for column in range(named, len(widths)):
        if end + widths[column] > room and len(blocks[-1]) > named:
            blocks.append(list(range(named)))
            end = sum(widths[:named]) + GAP * named
        blocks[-1].append(column)
        end += widths[column] + GAP
    return blocks
