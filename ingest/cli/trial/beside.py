"""A command beside `tickline demo`: it ends with the demo, also if that is killed.

`python -m ingest.cli.trial.beside COMMAND …` runs a command of ours whose stdin is a pipe of the demo. Nothing is ever
sent on it: its end is that of the demo.
"""

from __future__ import annotations

import os
import signal
import threading


def end_with_parent() -> None:
    """End this process by SIGTERM, as Ctrl-C would, when its stdin is closed."""
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from ingest.cli import main

    end_with_parent()
    main()
