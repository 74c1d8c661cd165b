"""A file system that is small enough to fill."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[str]:
    """Mount a file system on a folder; give why that cannot be done here, or ""."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        yield f"a small file system cannot be mounted: {mounted.stderr.strip()}"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Let a file take all room that its file system has, though others write to it."""
    with ballast.open("wb") as file:
        while room := (found := os.statvfs(ballast)).f_bavail * found.f_frsize:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), room)
            except OSError:  # others were quicker
                continue
            file.seek(room, os.SEEK_CUR)
