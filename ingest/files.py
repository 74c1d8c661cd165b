"""Files that are replaced as a whole: a reader, a kill and a power cut meet the old one or the new one.

Owns how that is done. Must not know what a file holds, nor what to say when it cannot be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600  # for its owner only


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give a path beside a file to write to; at the end what is there takes the file's place.

    After an error the old file stays as it was, and nothing is left beside it.

    Raises
    ------
    OSError
        If the file cannot be put in its place.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        with suppress(OSError):  # it took the file's place, or was never made
            beside.unlink()


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Put a file with other content in the place of one, on disk when this returns; see `replaced`.

    Parameters
    ----------
    mode
        Permissions of the new file, less those that the umask takes away.
    """
    with replaced(path) as beside:
        beside.unlink(missing_ok=True)  # of a process that was killed: its permissions may be others
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
