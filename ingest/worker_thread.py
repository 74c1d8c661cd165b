"""Worker thread: blocking calls, one after another, on a thread that never holds up the end of the process.

The threads of `concurrent.futures`, which `asyncio.to_thread` uses, are joined when the event loop and the process
end: one that waits for a silent server holds both. This one is a daemon. Must not know what is called.
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
    """One thread that makes the calls it is given, in their order.

    Parameters
    ----------
    name
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function after all earlier calls; return the future of its result.

        A call that is cancelled before its turn is dropped. One that has begun is not interrupted, and the next one
        waits for it.
        """
        future: Future[T] = Future()
        self._calls.put(partial(_settle, future, partial(call, *args, **kwargs)))
        return future

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function as `submit` does, and wait for its result."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Let the thread end after the calls it has; give it no more."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # with its arguments and result, which may be large


def in_background(name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call one function on a thread of its own; return the future of its result."""
    thread = WorkerThread(name)
    future = thread.submit(call, *args, **kwargs)
    thread.close()
    return future


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    """Give a future the result or the error of a call, unless it was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as exc:
        future.set_exception(exc)
        del future  # the error's traceback has this frame, and so would have itself
    else:
        future.set_result(result)
