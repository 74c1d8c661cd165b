"""The command `tickline` for scripts of tests: as a shell finds it, but without a new interpreter's imports.

Owns a program of that name in a folder of its own, which hands its arguments, folder, environment and files to this
process; `tests/processes.py` runs the command with them, and the program ends with its exit code.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes import CommandProcess

PROGRAM = f"""#!{sys.executable} -ISs
import json, os, socket, sys
asked = {{"pid": os.getpid(), "arguments": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as place:
    place.connect(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "asked"))
    place.sendall(json.dumps(asked).encode())
    place.shutdown(socket.SHUT_WR)
    sys.exit(int(place.recv(100)))
"""


@contextmanager
def quick_commands(folder: Path) -> Iterator[dict[str, CommandProcess]]:
    """Serve the program while the block runs; the folder, which has a short path, is to be the first in PATH.

    Yields the newest process of each command, by its name.
    """
    begun: dict[str, CommandProcess] = {}
    program = folder / "tickline"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "asked"))
        listening.listen()
        threading.Thread(target=_serve, args=(listening, begun), daemon=True).start()
        yield begun
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts


def _serve(listening: socket.socket, begun: dict[str, CommandProcess]) -> None:
    with suppress(OSError):  # closed
        while True:
            threading.Thread(target=_run, args=(listening.accept()[0], begun), daemon=True).start()


def _run(place: socket.socket, begun: dict[str, CommandProcess]) -> None:
    with place, place.makefile("rb") as lines:
        asked = json.loads(lines.read())
        stdin, out, err = (Path(f"/proc/{asked['pid']}/fd/{number}") for number in range(3))
        process = CommandProcess(
            asked["arguments"], cwd=Path(asked["cwd"]), environment=asked["environment"], out=out, err=err,
            stdin=stdin if stdin.exists() else Path(os.devnull),
        )  # fmt: skip
        begun[asked["arguments"][0]] = process
        place.sendall(str(process.wait()).encode())
