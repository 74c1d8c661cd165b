"""Show one line of progress on a terminal, overwritten in place; write nothing to a pipe or file."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 0.2  # fast enough for an eye
CLEAR = "\r\x1b[2K"  # return to the start of the line and erase it


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text in place of the previous one; an empty text removes the line.

    Skips texts that come faster than every `EVERY_S` seconds. Removes the line at the end.
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
