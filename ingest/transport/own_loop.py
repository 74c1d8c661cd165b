"""Own loop: a task with a thread and an event loop of its own, beside the loop that must not be delayed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from abc import ABC, abstractmethod

log = logging.getLogger(__name__)


class OwnLoop(ABC):
    """A task that runs until `stop`, and is woken by `moved`.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._moved = asyncio.Event()  # set by `moved`, and replaced each time
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def moved(self) -> None:
        """Wake whoever waits for more; call it on any thread."""
        with contextlib.suppress(RuntimeError):  # it has just ended
            self._loop.call_soon_threadsafe(self._wake)

    def stop(self, within_s: float) -> None:
        """Ask the task to end, and wait for it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(within_s)

    @abstractmethod
    async def _work(self) -> None:
        """Work until `_stopping` is set."""

    @abstractmethod
    def _failed(self, text: str) -> None:
        """Note that the work has ended by an error."""

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
        except Exception as exc:  # it must not end silently
            self._failed(f"{type(exc).__name__}: {exc}")
            log.exception("%s has ended", self._thread.name)
        finally:
            self._loop.close()
