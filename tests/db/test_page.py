"""The live page in a real browser, during one simulated session that all tests of this file share."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from analytics.review.report_file import write_report
from analytics.review.summary import best_and_worst
from analytics.signals.chart import write_html
from ingest.database.connections import Database
from tests.browser import WITHIN_MS, Seen, browser, needs_chromium
from tests.fault.harness import Command, Ingester, Market, rows, wait_until
from tests.simulated import free_port
from tests.unit.analytics.review.reports import bars as made_bars
from tests.unit.analytics.review.reports import made_report

pytestmark = [needs_chromium, pytest.mark.parametrize("engine", ["postgres"], indirect=True)]
MUTE = "NSE_FO|35001"
# How many colours a canvas has; an empty one has one.
COLOURS = """(place) => { const canvas = document.querySelector(place);
    if (!canvas) return 0;
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(data.buffer)).size; }"""
TABS = ["Chart", "Option chain", "Signals", "Feed"]


class Session(NamedTuple):
    """A simulated market that is recorded and shown."""

    home: Path
    market: Market
    market_port: str
    ingester: Command
    page: Command
    url: str
    browser: Browser
    database: Database


def market(home: Path, port: str) -> Market:
    """A market in which one instrument says nothing."""
    return Market(home, "--generate", "--instruments", "24", "--rate", "48", "--port", port, "--mute", f"{MUTE}@0+9000")


@pytest.fixture(scope="module")
def session(database_to_read: Database) -> Iterator[Session]:
    expect.set_options(timeout=WITHIN_MS)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tl-")))
        market_port, api_port = str(free_port()), str(free_port())
        playing = stack.enter_context(market(home, market_port))
        ingester = stack.enter_context(
            Ingester(home, playing, database_to_read.url, TICKLINE_API_PORT=api_port, TICKLINE_CONFIRM_S="0.5")
        )
        page = stack.enter_context(
            Command(
                home, "page", "--port", "0",
                TICKLINE_HOME=str(home), TICKLINE_API_PORT=api_port, TICKLINE_DATABASE_URL=database_to_read.url,
            )
        )  # fmt: skip
        page.wait_for("page: http://")
        url = re.search(r"http://\S+", page.text())[0]  # type: ignore[index]
        wait_until(lambda: rows(database_to_read, "select count(*) >= 18 from latest_ticks") == [(True,)])
        driven = stack.enter_context(browser())
        yield Session(home, playing, market_port, ingester, page, url, driven, database_to_read)
        page.stop()


@pytest.fixture(scope="module")
def desk(session: Session) -> Iterator[Seen]:
    """The page, which must not complain nor ask another host."""
    seen = Seen(session.browser, session.url)
    yield seen
    seen.context.close()
    assert (seen.complaints, seen.foreign) == ([], [])


def test_numbers_move_and_the_chart_draws(desk: Seen, session: Session) -> None:
    row = desk.page.locator("tr", has=desk.page.get_by_role("button", name="NIFTY", exact=True))
    price = row.locator("td").first
    expect(price).to_have_text(re.compile(r"^[\d,]+\.\d\d$"))
    with session.database.connect() as holder:  # by the API: the database does not answer meanwhile
        holder.execute("lock table instruments in access exclusive mode")
        expect(price).not_to_have_text(price.inner_text())
    expect(desk.page.get_by_role("status")).to_contain_text("Feed flowing")
    row.get_by_role("button").click()
    chart = desk.page.get_by_role("img", name=re.compile(r"Candlestick chart of NIFTY, 1m, [1-9]\d* bars"))
    expect(chart).to_be_visible()
    desk.page.wait_for_function(f"({COLOURS})('.chart-canvas canvas') > 10")
    said = desk.page.locator(".chart figcaption")
    expect(said).not_to_have_text(said.inner_text())  # the bar of this minute changes


def test_mute_key_is_named(desk: Seen, session: Session) -> None:
    ((name,),) = rows(session.database, f"select trading_symbol from instruments where instrument_key = '{MUTE}'")
    expect(desk.page.locator(".facts")).to_contain_text("1 not answered")
    desk.open("Feed")
    quiet = desk.page.get_by_role("region", name="Instruments that are silent or not answered")
    expect(quiet).to_contain_text(name)
    expect(quiet).to_contain_text("not answered")
    segments = desk.page.get_by_role("region", name="Segments of the market")
    expect(segments).to_contain_text("flows in part")
    expect(segments.locator("tbody th")).to_have_text(["NSE_EQ", "NSE_FO", "NSE_INDEX"])
    watch = desk.page.get_by_role("region", name="Watch list")
    expect(watch.locator("tbody tr")).to_have_count(len(session.market.keys))


def test_signal_is_marked_on_the_chart_counted_and_listed(desk: Seen, session: Session) -> None:
    statement = """
        insert into signals (
            instrument_id, bucket, rule_set, direction, confidence, score, price, reasons, severity, members
        )
        select instrument_id, bucket, 'test', 'up', 0.9, 2, close, '{"text": "volume 20 times the average"}', 'high',
            '[{"instrument_key": "NSE_FO|1", "trading_symbol": "NIFTY FUT"}]'
        from bars_1m join instruments using (instrument_id) where trading_symbol = 'NIFTY' order by bucket limit 1
        returning 1
    """
    desk.page.get_by_role("button", name="NIFTY", exact=True).click()
    expect(desk.page.get_by_role("img", name=re.compile("NIFTY, 1m, .* 0 signals"))).to_be_visible()
    assert rows(session.database, statement) == [(1,)]
    expect(desk.page.get_by_role("img", name=re.compile("NIFTY, 1m, .* 1 signals"))).to_be_visible()
    desk.open("Signals")
    listed = desk.page.get_by_role("region", name="Signals, newest first")
    expect(listed).to_contain_text("volume 20 times the average")
    expect(listed).to_contain_text("high")
    expect(listed).to_contain_text("1: NIFTY FUT")
    listed.get_by_role("button", name="NIFTY").click()  # opens its chart
    expect(desk.page.get_by_role("tab", name="Chart")).to_have_attribute("aria-selected", "true")


def test_option_chain_is_shown_around_the_money(desk: Seen) -> None:
    desk.open("Option chain")
    chain = desk.page.get_by_role("region", name="Option chain around the money")
    expect(chain.locator("tr.marked")).to_have_count(1)
    expect(chain.locator("tr.marked td").first).to_have_text(re.compile(r"0\.\d\d"))  # the call's delta
    desk.page.get_by_label("Columns").select_option("all greeks, volume")
    expect(chain).to_contain_text("Put vega")


def test_interval_is_chosen_and_the_list_is_searched_and_sorted_by_keyboard(desk: Seen) -> None:
    desk.open("Chart")
    desk.page.get_by_label("Interval").select_option("5m")
    expect(desk.page.get_by_role("img", name=re.compile(", 5m, "))).to_be_visible()
    # Each key goes to the element that is named, whatever has the focus by then.
    search = desk.page.get_by_role("searchbox", name="Find an instrument")
    search.press_sequentially("nifty fut")
    watch = desk.page.get_by_role("region", name="Watch list")
    expect(watch.locator("tbody tr").first).to_contain_text("NIFTY FUT")
    search.press("Escape")
    expect(search).to_have_value("")
    desk.page.get_by_role("button", name="Change").press("Enter")
    change = watch.get_by_role("columnheader", name="Change")
    expect(change).to_have_attribute("aria-sort", "descending")
    watch.locator("tbody button").last.press("Enter")  # the server then sends the table's columns again
    expect(watch.locator("tbody tr[aria-current]")).to_have_count(1)
    expect(change).to_have_attribute("aria-sort", "descending")
    desk.page.get_by_role("tab", name="Chart").press("ArrowRight")
    expect(desk.page.get_by_role("tab", name="Option chain")).to_have_attribute("aria-selected", "true")


def test_file_of_spikes_draws_by_itself(session: Session, tmp_path: Path) -> None:
    bars = [
        [1_764_560_700_000 + 60_000 * n, 100.0 + n % 7, 109.0, 99.0, 101.0, 500, "thin", "ticks"] for n in range(50)
    ]
    figures = {"bars": bars, "signals": [[bars[7][0], "up", 0.9, 101.0, "volume 20 times"]], "interval": "1m"}
    path = tmp_path / "chart.html"
    write_html(figures, "INFY", path)
    seen = Seen(session.browser, path.as_uri())
    seen.page.wait_for_function(f"({COLOURS})('#chart canvas') > 10")
    seen.context.close()
    assert seen.complaints == []


@pytest.mark.parametrize(("size", "shade"), [("desk", "dark"), ("phone", "light")])
def test_report_of_signals_draws_by_itself_and_fits_a_phone(
    session: Session, tmp_path: Path, size: str, shade: str
) -> None:
    report, path = made_report(), tmp_path / "report.html"
    best, _ = best_and_worst(report.signals, 1)
    write_report(report, [("best", best.to_dicts()[0], made_bars())], path)
    seen = Seen(session.browser, path.as_uri(), size=size, shade=shade)
    wait_until(lambda: seen.page.evaluate(f"({COLOURS})('#chart0 canvas') > 10"))
    assert seen.faults() == []
    assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    expect(seen.page.get_by_role("table").first).to_contain_text("50 % of 2")
    seen.context.close()
    assert (seen.complaints, seen.foreign) == ([], [])


@pytest.mark.parametrize(("size", "shade", "tabs"), [("desk", "light", TABS), ("phone", "dark", ["Feed"])])
def test_axe_finds_no_serious_fault_and_nothing_overflows(
    session: Session, size: str, shade: str, tabs: list[str]
) -> None:
    seen = Seen(session.browser, session.url, size=size, shade=shade)
    expect(seen.page.locator(".chart figcaption")).to_contain_text("close")
    for tab in TABS:
        seen.open(tab)
        expect(seen.page.get_by_role("tabpanel", name=tab)).to_be_visible()
        if tab in tabs:  # what stands beside the tabs is looked at once
            assert seen.faults("[role=tabpanel]:not([hidden])" if tab != tabs[0] else None) == [], tab
        assert seen.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), tab
    assert seen.page.evaluate("document.documentElement.dataset.shade") == shade
    seen.page.get_by_role("button", name="Colours").click()  # from that of the system to light
    assert seen.page.evaluate("document.documentElement.dataset.shade") == "light"
    seen.context.close()
    assert (seen.complaints, seen.foreign) == ([], [])


def test_cut_connection_and_an_ingester_that_is_away_are_said_and_over_when_they_are(
    desk: Seen, session: Session
) -> None:
    said = desk.page.get_by_role("status")
    expect(said).to_contain_text("Feed flowing")
    session.market.kill()
    expect(said).to_contain_text("Feed not flowing")
    with market(session.home, session.market_port):
        expect(said).to_contain_text("Feed flowing")
        desk.open("Feed")
        session.ingester.kill()
        expect(said).to_contain_text("Feed not known")
        expect(desk.page.locator(".facts")).to_contain_text("no ingester answers")
        expect(desk.page.get_by_role("region", name="Connections of the feed")).to_contain_text("not known")
