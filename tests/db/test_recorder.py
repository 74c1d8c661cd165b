"""The recorder, as a program of a user has it: a real simulator, and a real database."""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.errors import ConfigError, SubscriptionError, UnknownNameError
from ingest.live import Tick, TickRecorder
from ingest.settings import settings
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay, latest_weekday
from ingest.simulator.server.app import Simulator
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.fault.live import until
from tests.simulated import settings_for


@contextlib.contextmanager
def simulator() -> Iterator[Simulator]:
    """A simulator on a loop of its own, for programs that have one."""
    day = TradingDay(latest_weekday(datetime.now(UTC).date()))
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        def run(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(WITHIN_S)

        one = Simulator(GeneratedMarket(day, seed=3, instruments=60, rate=600.0), speed=5.0)
        run(one.__aenter__())
        try:
            yield one
        finally:
            run(one.__aexit__(None, None, None))
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


@pytest.fixture
def environment(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """The settings of a program are in its environment."""
    with simulator() as one:
        for name, value in settings_for(one, home).items():
            prefix = "" if name.startswith("upstox") else "TICKLINE_"
            monkeypatch.setenv(f"{prefix}{name.upper()}", str(value))
        monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
        monkeypatch.setenv("TICKLINE_SUBSCRIBE_INTERVAL_MS", "10")
        monkeypatch.chdir(home)
        yield one


@on_one_engine
def test_recorder_example_of_its_docstring_runs(environment: Simulator) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(TickRecorder, "TickRecorder")
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.attempted and not result.failed, "".join(said)


@on_one_engine
def test_recorder_snippet_of_the_readme_runs(environment: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    text = (REPOSITORY / "ingest" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (snippet,) = [block for block in blocks if "TickRecorder" in block]
    minute, there = "asyncio.sleep(60)", "recorder.is_healthy and recorder.latest_tick('NIFTY FUT')"
    assert minute in snippet
    exec(snippet.replace(minute, f"until(lambda: {there})"), {"until": until})
    printed = capsys.readouterr().out
    assert "True {'price': " in printed and "\nNIFTY FUT " in f"\n{printed}"


@on_one_engine
def test_recorder_starts_changes_stops_and_starts_again(environment: Simulator, database: Database) -> None:
    heard: list[Tick] = []

    async def on_tick(tick: Tick) -> None:
        heard.append(tick)

    async def run() -> None:
        recorder = TickRecorder(["NIFTY FUT"])
        recorder.add_handler(on_tick)
        assert not recorder.is_running and not recorder.is_healthy and recorder.status() == {"is_running": False}
        assert recorder.latest_tick("RELIANCE") is None
        with pytest.raises(SubscriptionError, match="start it first"):
            await recorder.subscribe("RELIANCE")
        for _ in range(2):
            await recorder.start()
            with pytest.raises(ConfigError, match="runs already"):
                await recorder.start()
            (key,) = await recorder.subscribe(" reliance", mode="ltpc")
            with pytest.raises(UnknownNameError, match="near matches are 'RELIANCE'"):
                await recorder.subscribe(["INFY", "RELIANC"])
            with pytest.raises(ConfigError, match="mode 'all' is unknown"):
                await recorder.subscribe(key, mode="all")  # type: ignore[arg-type]
            await until(lambda: recorder.latest_tick("Nifty Fut") is not None)
            await until(lambda: len({tick.instrument_key for tick in heard}) == 2 and recorder.is_healthy)
            assert recorder.status()["subscriptions"]["total_symbols"] == 2 == len(environment.subscribed)
            by_symbol, by_key = recorder.latest_tick("Reliance"), recorder.latest_tick(key)
            assert by_symbol is not None and by_key is not None and by_symbol.keys() == by_key.keys()
            symbols = {tick.symbol for tick in heard}
            assert len(symbols) == 2 and all(recorder.latest_tick(symbol) for symbol in symbols if symbol)
            assert await recorder.unsubscribe(key) == [key]
            await until(lambda: len(environment.subscribed) == 1)
            assert key not in environment.subscribed
            assert recorder.latest_tick("RELIANCE") is None
            await recorder.stop()
            assert not recorder.is_running and not recorder.is_healthy
            heard.clear()
        with database.connect() as connection:
            found = connection.execute("select count(distinct instrument_id) from ticks").fetchone()
        assert found == (2,)

    asyncio.run(run())


@on_one_engine
def test_recorder_handler_that_is_removed_hears_no_more_and_what_is_none_is_refused(environment: Simulator) -> None:
    heard: list[Tick] = []
    later: list[Tick] = []

    async def on_tick(tick: Tick) -> None:
        heard.append(tick)

    async def other(tick: Tick) -> None:
        later.append(tick)

    async def run() -> None:
        async with TickRecorder(["RELIANCE"]) as recorder:
            with pytest.raises(ConfigError, match="is not an async function"):
                recorder.add_handler(print)  # type: ignore[arg-type]
            recorder.add_handler(on_tick)
            await until(lambda: bool(heard))
            recorder.remove_handler(on_tick)
            recorder.remove_handler(on_tick)
            await until(lambda: not any("on_tick" in thread.name for thread in threading.enumerate()))
            count = len(heard)
            recorder.add_handler(other)
            await until(lambda: len(later) > 1)
            assert len(heard) == count

    asyncio.run(run())


@on_one_engine
def test_recorder_that_fails_says_why_and_can_be_started_again(
    environment: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    async def run() -> None:
        recorder = TickRecorder(["RELIANCE"])
        with monkeypatch.context() as patched:
            patched.setattr("ingest.feed.connection.request", broken)
            await recorder.start()
            with pytest.raises(RuntimeError, match="a bug"):
                await recorder.wait()
        assert not recorder.is_running
        await recorder.stop()
        async with recorder:
            await until(lambda: recorder.latest_tick("RELIANCE") is not None)
        with pytest.raises(ConfigError, match="unknown instrument 'NOTHING LIKE IT'"):
            await TickRecorder(["NOTHING LIKE IT"]).start()

    asyncio.run(run())


def test_recorder_opens_and_closes_the_embedded_database(home: Path) -> None:
    async def run(one: Simulator) -> None:
        config = settings(**settings_for(one, home), database_url=None, engine="postgres")
        async with TickRecorder(["RELIANCE"], settings=config) as recorder:
            assert (home / "postgres" / "data" / "postmaster.pid").exists()
            await until(lambda: recorder.latest_tick("RELIANCE") is not None)

    with simulator() as one:
        asyncio.run(run(one))
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()
