"""Run many commands, each in a process of its own that is a copy of one with all imports made.

Started as a program: reads `[{"argv", "env", "cwd", "stdin", "out"}, …]` as JSON from stdin, and writes the exit codes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import ingest.cli
from tests.data import REPOSITORY

TIMEOUT_S = 60  # of a command, by SIGALRM


def run_commands(cases: list[dict[str, Any]]) -> list[int]:
    """Run commands by this program; return their exit codes in order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.many_commands"],
        check=True,
        cwd=REPOSITORY,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
    )
    codes: list[int] = json.loads(done.stdout)
    return codes


def main() -> None:
    """Run them, a few at a time."""
    import signal

    for name in {place.partition(":")[0] for place in ingest.cli.COMMANDS.values()} | {
        "ingest.live.supervisor",
        "ingest.live.http.api",
    }:
        importlib.import_module(name)
    cases, codes, running = json.load(sys.stdin), [], {}
    assert threading.active_count() == 1, "a copy of a process has one thread"
    for number, case in enumerate(cases):
        pid = os.fork()
        if not pid:
            signal.alarm(TIMEOUT_S)
            _run(case)
        running[pid] = number
        if len(running) == 4:
            _wait(running, codes)
    while running:
        _wait(running, codes)
    print(json.dumps([code for _, code in sorted(codes)]))


def _wait(running: dict[int, int], codes: list[tuple[int, int]]) -> None:
    pid, status = os.wait()
    codes.append((running.pop(pid), os.waitstatus_to_exitcode(status)))


def _run(case: dict[str, Any]) -> None:
    code = 1
    try:
        os.chdir(case["cwd"])
        os.environ.clear()
        os.environ.update(case["env"])
        for number, path in enumerate((case["stdin"], case["out"], case["out"])):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
            os.dup2(os.open(path, flags, 0o600), number)
        sys.path.insert(0, "")
        sys.argv = ["tickline", "--debug", *case["argv"]]
        ingest.cli.main()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    finally:
        Path(case["out"]).touch()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
