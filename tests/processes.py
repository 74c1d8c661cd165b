"""Commands as processes that tests need not wait for: each is a copy of one process that has made all imports.

A command is a real process, with a process id, signals and an exit code of its own. It has no `exec`: the imports of
`start` cost 0.9 s of CPU beside other work, which a suite of hundreds of commands would spend before it tests anything.
A test of what an interpreter does at its start (its options, its locale, what it imports) runs `python -m ingest.cli`.
"""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection
from pathlib import Path
from typing import Any

import ingest.cli

TIMEOUT_S = 180.0  # of a command
TICKLINE, ALEMBIC = "ingest.cli:main", "alembic.config:main"
IMPORTED = [
    __name__,
    *sorted({place.partition(":")[0] for place in ingest.cli.COMMANDS.values()}),
    "ingest.live.supervisor",
    "ingest.live.http.api",
    "ingest.pipeline.replay",
    "ingest.simulator.server.app",
    "alembic.config",
]
# A start asks every other process for its exit code, which can be read once: a thread that asks beside it reads 255.
_ASKING = threading.Lock()
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


class CommandProcess:
    """A `tickline` command that runs, with what tests use of `subprocess.Popen`.

    Parameters
    ----------
    arguments
        Of the command.
    cwd, environment
        Its working directory, and all of its environment.
    out, err
        Files to which its output is appended; `err` may be `out`.
    stdin
        File that it reads.
    program
        Whose command it is: `module:function`, as console scripts name it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        out: Path,
        err: Path | None = None,
        stdin: Path = Path(os.devnull),
        program: str = TICKLINE,
    ) -> None:
        files = [str(path) for path in (stdin, out, err or out)]
        # A daemon: killed when the tests end, whatever happens.
        self._process = _context.Process(
            target=_run, args=(program, list(arguments), str(cwd), dict(environment), files), daemon=True
        )
        with _ASKING:
            self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that ended it; None: it ran when last asked."""
        with _ASKING:
            return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None: it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended. Raises subprocess.TimeoutExpired."""
        connection.wait([self._process.sentinel], timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired("tickline", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run_command(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_s: float = TIMEOUT_S,
    program: str = TICKLINE,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` with captured text does. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = CommandProcess(arguments, cwd=cwd, environment=environment, out=out, err=err, program=program)
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(arguments), code, *(path.read_text() for path in (out, err)))


def _run(program: str, arguments: list[str], cwd: str, environment: dict[str, str], files: list[str]) -> None:
    """Be the command, in the new process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, path in enumerate(files):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(path, flags, 0o600), number)
    # As a new interpreter makes them for a file.
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    faulthandler.register(signal.SIGUSR2, file=sys.stderr)  # for a test whose command does not end
    sys.path.insert(0, "")
    module, _, function = program.partition(":")
    sys.argv = ["tickline" if program == TICKLINE else module.partition(".")[0], *arguments]
    try:
        getattr(importlib.import_module(module), function)()
    finally:
        atexit._run_exitfuncs()  # a process of this kind does not


def run_commands(cases: Sequence[Mapping[str, Any]], *, at_once: int = 4) -> list[int]:
    """Run commands, each with the arguments of `CommandProcess`, a few at a time; return their exit codes in order."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(_ended, cases))


def _ended(case: Mapping[str, Any]) -> int:
    process = CommandProcess(**case)
    try:
        return process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
