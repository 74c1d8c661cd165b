"""One line of progress on a terminal, written over itself; in a pipe or a file there is none."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 0.2  # an eye sees no more
CLEAR = "\r\x1b[2K"  # to the beginning of the line, and erase it


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield who shows a text in place of the one before, as often as it is worth it; an empty one takes the line away.

    In the end the line goes by itself.
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
