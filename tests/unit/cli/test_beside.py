"""A process beside the demo ends with it, also if it is killed."""

from __future__ import annotations

import subprocess
import sys

BESIDE = """
from ingest.cli.trial.beside import end_with_parent
import signal
end_with_parent()
print("runs", flush=True)
signal.pause()
"""
PARENT = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {BESIDE!r}], stdin=subprocess.PIPE)
time.sleep(600)
"""


def test_process_beside_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"runs\n"  # of the process beside, which has its parent's stdout
    parent.kill()
    assert parent.stdout.read() == b""  # its end: nobody has the pipe any more
    parent.stdout.close()
    assert parent.wait() == -9
