"""Blocking calls on one thread: in order, whole, and no hindrance to the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref

import pytest

from ingest.worker_thread import WorkerThread, in_background

WITHIN_S = 60.0


def test_calls_are_made_in_order_on_one_thread_beside_the_loop() -> None:
    made: list[tuple[int, threading.Thread]] = []

    async def main() -> list[int]:
        thread = WorkerThread("test")

        def call(number: int) -> int:
            made.append((number, threading.current_thread()))
            return number * 2

        found = await asyncio.gather(*(thread.run(call, number) for number in range(100)))
        thread.close()
        return found

    assert asyncio.run(main()) == [number * 2 for number in range(100)]
    assert [number for number, _ in made] == list(range(100))
    [thread] = {thread for _, thread in made}
    assert thread is not threading.main_thread() and thread.daemon
    thread.join(WITHIN_S)
    assert not thread.is_alive()


def test_error_of_a_call_is_raised_where_it_is_awaited_and_the_next_call_is_made() -> None:
    async def main() -> int:
        thread = WorkerThread("test")
        with pytest.raises(ZeroDivisionError):
            await thread.run(lambda: 1 // 0)
        try:
            return await thread.run(int, "7", base=8)
        finally:
            thread.close()

    assert asyncio.run(main()) == 7


def test_cancelled_call_that_runs_is_finished_before_the_next_and_one_that_waits_is_left_out() -> None:
    begun, held = threading.Event(), threading.Event()
    made: list[str] = []

    def slow() -> None:
        begun.set()
        held.wait(WITHIN_S)
        made.append("slow")

    async def main() -> None:
        thread = WorkerThread("test")
        running = asyncio.create_task(thread.run(slow))
        waiting = asyncio.create_task(thread.run(made.append, "left out"))
        await asyncio.to_thread(begun.wait, WITHIN_S)
        for task in (running, waiting):
            task.cancel()
        await asyncio.wait({running, waiting})
        assert running.cancelled() and waiting.cancelled() and not made
        following = asyncio.create_task(thread.run(made.append, "next"))
        held.set()
        await following
        thread.close()

    asyncio.run(main())
    assert made == ["slow", "next"]


def test_arguments_and_results_are_let_go_when_a_call_is_done() -> None:
    class Large:
        pass

    thread = WorkerThread("test")
    large = Large()
    seen = weakref.ref(large)
    assert thread.submit(lambda one: None, large).result(WITHIN_S) is None
    made = weakref.ref(thread.submit(Large).result(WITHIN_S))
    del large
    assert thread.submit(lambda: None).result(WITHIN_S) is None
    assert seen() is None and made() is None
    thread.close()


def test_call_that_never_returns_holds_up_neither_the_loop_nor_the_process() -> None:
    program = """
import asyncio, threading
from ingest.worker_thread import WorkerThread, in_background

async def main():
    thread, begun = WorkerThread("test"), threading.Event()
    def call():
        begun.set()
        threading.Event().wait()
    waiting = asyncio.create_task(thread.run(call))
    await asyncio.to_thread(begun.wait)
    in_background("other", threading.Event().wait)
    waiting.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_single_call_in_the_background_gives_its_result_and_ends_its_thread() -> None:
    found = in_background("test once", threading.current_thread)
    thread = found.result(WITHIN_S)
    thread.join(WITHIN_S)
    assert thread.name == "test once" and not thread.is_alive()
