"""Stop a run by signals or after a given time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(*, for_s: float | None = None) -> Iterator[asyncio.Event]:
    """Turn the first SIGINT, SIGTERM or SIGHUP, or the end of `for_s` seconds, into an event.

    A second signal of any kind ends the process at once; all received frames are in the journal.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    timer = loop.call_later(for_s, stop.set) if for_s is not None else None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup
        del before[signal.SIGHUP]

    def on_signal() -> None:
        stop.set()
        for number in before:
            loop.remove_signal_handler(number)
            # Not KeyboardInterrupt: Python would then wait for the thread that waits for the database.
            signal.signal(number, signal.SIG_DFL)

    for number in before:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        if timer is not None:
            timer.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
