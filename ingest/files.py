"""Replace files atomically: readers, kills and power cuts find the old file or the new one, never a part.

Must not know what a file contains, nor what to tell the user when writing fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600  # read and write for the owner only


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it replaces `path`.

    After an error the old file is unchanged and the temporary file is gone.

    Raises
    ------
    OSError
        If the file cannot be replaced.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        with suppress(OSError):  # already renamed, or never created
            beside.unlink()


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file's content atomically; the bytes are on disk when this returns.

    Root leaves the file to whom it belongs: a service must be able to read what root has changed.

    Parameters
    ----------
    path
        The file; it need not exist.
    content
        All bytes of the new file.
    mode
        Permissions of the new file, before the umask.

    Raises
    ------
    OSError
        If the file cannot be written or replaced.
    """
    with replaced(path) as beside:
        beside.unlink(missing_ok=True)  # left by a killed process, maybe with other permissions
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            if os.geteuid() == 0 and path.exists():
                owner = path.stat()
                os.fchown(fd, owner.st_uid, owner.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
