"""A command whose clock is wrong by some seconds: a real process, and what its C library says of the time of day."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

COMPILER = shutil.which("cc")
CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && clock == CLOCK_REALTIME) at->tv_sec += AHEAD_S;
    return failed;
}
"""


def command_ahead(
    arguments: Sequence[str], ahead_s: int, *, cwd: Path, environment: Mapping[str, str], out: Path
) -> subprocess.Popen[bytes]:
    """Start a `tickline` command whose clock is so many seconds ahead; its output is appended to a file."""
    with out.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "ingest.cli", *arguments],
            cwd=cwd,
            env=dict(environment) | {"LD_PRELOAD": str(_library(ahead_s))},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


@cache
def _library(ahead_s: int) -> Path:
    """Compile the clock."""
    assert COMPILER is not None
    folder = Path(tempfile.mkdtemp(prefix="tickline-clock-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "clock.so"
    command = [COMPILER, "-shared", "-fPIC", "-O2", f"-DAHEAD_S={ahead_s}", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=CLOCK.encode(), check=True)
    return library
