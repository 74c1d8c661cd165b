"""How soon the page shows what happens: a cut connection, its recovery, a database that is away, a planted spike."""

from __future__ import annotations

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from ingest.database.connections import Database
from tests.browser import Seen, browser, needs_chromium
from tests.engines import on_one_engine
from tests.fault.harness import Command, Ingester, Market, RecordProperty, rows, wait_until
from tests.fault.proxy import Proxy
from tests.simulated import free_port

pytestmark = [needs_chromium, pytest.mark.soak, on_one_engine]
SHOWN_S = 3.0  # from what happens until a browser shows it
SPIKE = "NSE_FO|35000"
TIMES = 5
NAMES = ["NIFTY", "INDIA VIX", "INFY", "TCS", "SBIN"]  # of the simulator's market


@contextmanager
def page_of(home: Path, api_port: str, database_url: str) -> Iterator[str]:
    """A page as a process; yield its address."""
    given = {"TICKLINE_HOME": str(home), "TICKLINE_API_PORT": api_port, "TICKLINE_DATABASE_URL": database_url}
    with Command(home, "page", "--port", "0", **given) as page:
        page.wait_for("page: http://")
        found = re.search(r"http://\S+", page.text())
        assert found is not None
        yield found[0]
        page.stop()


def shown_after_s(page: Page, place: str, text: str, began: float) -> float:
    """Seconds from a moment until an element contains a text."""
    page.wait_for_function(
        "([place, text]) => document.querySelector(place)?.innerText.includes(text)", arg=[place, text], polling=20
    )
    return time.monotonic() - began


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        yield Path(folder)


def test_cut_connection_and_its_recovery_show_within_3_s(
    database: Database, folder: Path, record_property: RecordProperty
) -> None:
    port, api_port = str(free_port()), str(free_port())
    session = ("--generate", "--instruments", "40", "--rate", "400", "--port", port)
    cut, back = [], []
    with ExitStack() as stack:
        market = stack.enter_context(Market(folder, *session))
        ingester = stack.enter_context(Ingester(folder, market, database.url, TICKLINE_API_PORT=api_port))
        url = stack.enter_context(page_of(folder, api_port, database.url))
        seen = Seen(stack.enter_context(browser()), url)
        expect(seen.page.get_by_role("status")).to_contain_text("Feed flowing", timeout=60_000)
        for count in range(2, TIMES + 2):
            began = time.monotonic()
            market.kill()
            cut.append(shown_after_s(seen.page, ".top [role=status]", "Feed not flowing", began))
            market = stack.enter_context(Market(folder, *session))
            wait_until(lambda count=count: f"feed connected name=1 connection={count}" in ingester.text(), every_s=0.01)
            began = time.monotonic()
            back.append(shown_after_s(seen.page, ".top [role=status]", "Feed flowing", began))
        seen.open("Feed")
        expect(seen.page.get_by_role("region", name="Connections of the feed")).to_contain_text("reconnected")
        assert seen.complaints == []
    record_property("outcome", f"cut shown after {_spread(cut)}, recovery after {_spread(back)}")
    assert max(*cut, *back) <= SHOWN_S


def test_database_that_is_away_and_its_return_show_within_3_s(
    database: Database, folder: Path, record_property: RecordProperty
) -> None:
    api_port = str(free_port())
    away, back = [], []
    with ExitStack() as stack:
        way = stack.enter_context(ExitStack())
        proxy = way.enter_context(Proxy(database.url, folder / "p"))
        market = stack.enter_context(Market(folder, "--generate", "--instruments", "40", "--rate", "400"))
        stack.enter_context(Ingester(folder, market, database.url, TICKLINE_API_PORT=api_port))
        url = stack.enter_context(page_of(folder, api_port, proxy.url))
        seen = Seen(stack.enter_context(browser()), url)
        # Their names are in the database.
        for name in NAMES:
            expect(seen.page.get_by_role("button", name=name, exact=True)).to_be_visible(timeout=60_000)
        for name in NAMES:
            began = time.monotonic()
            way.close()
            (folder / "p" / ".s.PGSQL.5432").unlink()
            away.append(shown_after_s(seen.page, ".facts", "cannot be reached", began))
            # A chart that is chosen meanwhile, and that no browser has shown yet, comes by itself.
            seen.page.get_by_role("button", name=name, exact=True).click()
            expect(seen.page.get_by_role("alert")).to_contain_text("cannot be read", timeout=20_000)
            began = time.monotonic()
            way.enter_context(Proxy(database.url, folder / "p"))
            back.append(shown_after_s(seen.page, ".facts", "answers", began))
            chart = seen.page.get_by_role("img", name=re.compile(f"Candlestick chart of {name}, .* close"))
            expect(chart).to_be_visible(timeout=60_000)
        assert seen.complaints == []
    record_property("outcome", f"away shown after {_spread(away)}, return after {_spread(back)}")
    assert max(*away, *back) <= SHOWN_S


@pytest.mark.timeout(600)
def test_planted_spike_is_marked_within_a_bar(
    database: Database, folder: Path, record_property: RecordProperty
) -> None:
    api_port = str(free_port())
    with ExitStack() as stack:
        # A bar takes 6 s.
        market = stack.enter_context(
            Market(
                folder, "--generate", "--instruments", "8", "--rate", "24", "--seed", "3", "--speed", "10",
                "--date", "2026-11-19", "--spike", f"{SPIKE}@36:2.5x20",
            )
        )  # fmt: skip
        stack.enter_context(Ingester(folder, market, database.url, TICKLINE_API_PORT=api_port))
        url = stack.enter_context(page_of(folder, api_port, database.url))
        follow = {"TICKLINE_DATABASE_URL": database.url, "TICKLINE_HOME": str(folder)}
        stack.enter_context(Command(folder, "spikes", "--follow", **follow))
        seen = Seen(stack.enter_context(browser()), url)
        wait_until(lambda: rows(database, "select count(*) = 8 from latest_ticks") == [(True,)])
        ((name,),) = rows(database, f"select trading_symbol from instruments where instrument_key = '{SPIKE}'")
        seen.page.get_by_role("button", name=name, exact=True).click(timeout=60_000)
        chart = seen.page.get_by_role("img", name=re.compile(f"{name}, 1m, .* 1 signals"))
        expect(chart).to_be_visible(timeout=600_000)
        label = chart.get_attribute("aria-label") or ""
        found = re.search(r"(\d+) bars", label)
        assert found is not None
        bars_later = int(found[1]) - 37  # the bar of minute 36 is the 37th
        expect(seen.page.locator("tr.chosen")).to_contain_text("1", timeout=15_000)
        assert seen.complaints == []
    record_property("outcome", f"marked {bars_later} bar after its own")
    assert bars_later <= 1


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f} s"


def test_demo_keeps_its_page_open_until_it_is_stopped(engine: str, folder: Path) -> None:
    given = {"TICKLINE_PAGE_PORT": "0", "TICKLINE_ENGINE": engine, "TMPDIR": str(folder)}
    with Command(folder, "demo", "--page", **given) as demo:
        demo.wait_for("page: http://")
        found = re.search(r"page: (http://\S+)", demo.text())
        assert found is not None
        with browser() as started:
            seen = Seen(started, found[1])
            expect(seen.page.get_by_role("status")).to_contain_text("Feed flowing", timeout=60_000)
            expect(seen.page.get_by_role("img", name="Candlestick chart of")).to_be_visible(timeout=60_000)
            assert seen.complaints == []
        demo.stop(signal.SIGINT)
        assert "page stopped" in demo.text()
    assert not [child for child in psutil.Process().children(recursive=True) if "spikes" in child.cmdline()]


def test_demo_that_is_killed_leaves_no_process(engine: str, folder: Path) -> None:
    given = {"TICKLINE_PAGE_PORT": "0", "TICKLINE_ENGINE": engine, "TMPDIR": str(folder)}
    with Command(folder, "demo", "--page", **given) as demo:
        demo.wait_for("page: http://")
        beside = psutil.Process(demo.process.pid).children()
        beside = [child for child in beside if "ingest.cli.trial.beside" in child.cmdline()]
        assert len(beside) == 2
        demo.process.kill()
        _, alive = psutil.wait_procs(beside, timeout=30)
        assert alive == []
