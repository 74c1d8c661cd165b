"""Worker thread: run blocking calls, one after another, on a thread that never delays the exit of the process.

The event loop and the interpreter join the threads of `concurrent.futures`, which `asyncio.to_thread` uses, before
they end: a thread that waits for a silent server blocks both. This thread is a daemon. Must not know what it calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """One thread that runs the calls submitted to it, in order.

    Parameters
    ----------
    name
        Name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function after all earlier calls; return the future of its result.

        A call that is cancelled before its turn is dropped. A call that has begun is not interrupted; the next one
        waits for it.
        """
        future: Future[T] = Future()
        self._calls.put(partial(_settle, future, partial(call, *args, **kwargs)))
        return future

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function as `submit` does, and wait for its result."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def close(self) -> None:
        """End the thread after the calls submitted so far; submit no more."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # with its arguments and result, which may be large


def in_background(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call one function on its own thread; return the future of its result."""
    thread = WorkerThread(name)
    future = thread.submit(call, *args, **kwargs)
    thread.close()
    return future


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    """Run a call and set its result or error in the future, unless the future was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as exc:
        future.set_exception(exc)
        del future  # the error's traceback refers to this frame: otherwise a reference cycle
    else:
        future.set_result(result)
