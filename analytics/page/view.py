"""What one browser sees: the parts of the page, and how each is brought up to date."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from nicegui import ui

from analytics.market_time import MARKET_ZONE
from analytics.page.board import Board
from analytics.page.judgement import facts
from analytics.page.parts.elements import Tabs, Text, element
from analytics.page.views.chain_view import ChainView
from analytics.page.views.chart_view import ChartView
from analytics.page.views.feed_view import FeedView
from analytics.page.views.signals_view import SignalsView
from analytics.page.views.watch_view import WatchView

LOOK_S = 0.5  # how often a browser is brought up to date, at most
PARTS = Path(__file__).parent / "parts"
CHART, CHAIN, SIGNALS, FEED = "Chart", "Option chain", "Signals", "Feed"


def add_page(board: Board) -> None:
    """Add the page to NiceGUI's application."""
    style = (PARTS / "page.css").read_text(encoding="utf-8")
    theme = (PARTS / "theme.js").read_text(encoding="utf-8")

    @ui.page("/")
    def _page() -> None:
        ui.add_head_html(f"<meta name='robots' content='noindex'><style>{style}</style><script>{theme}</script>")
        View(board)


class View:
    """The page in one browser.

    Parameters
    ----------
    board
        What all browsers see.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._viewer = uuid4().hex
        self._facts: list[tuple[Text, Text, Text, Text]] = []
        self._version = -1
        with element("header", "top"):
            Text("h1", "Tickline")
            with element("div", role="status", aria_live="polite"):
                self._state = Text("span", "asking …", css="badge idle")
            element("span", "grow")
            self._clock = Text("span", css="clock")
            shades = Text("button", "Colours: system", css="plain")
            shades.props.update({"type": "button", "data-shades": "", "title": "light, dark, or as the system says"})
        with element("main"):
            self._place_facts()
            with element("div", "columns"):
                with element("section", "panel watch", aria_labelledby="watch-title"):
                    Text("h2", "Watch list").props.update({"id": "watch-title"})
                    self.watch = WatchView(board, self._viewer, self._choose)
                with element("section", "panel", aria_label="Details"):
                    self._tabs = Tabs([CHART, CHAIN, SIGNALS, FEED], self._opened)
                    with self._tabs.panel(CHART):
                        self.chart = ChartView(board)
                    with self._tabs.panel(CHAIN):
                        self.chain = ChainView(board, self._viewer)
                    with self._tabs.panel(SIGNALS):
                        self.signals = SignalsView(board, self._choose)
                    with self._tabs.panel(FEED):
                        self.feed = FeedView(board)
        client = ui.context.client
        client.on_delete(self._left)
        ui.run_javascript("ticklineShade()")
        ui.timer(LOOK_S, self._look)

    def _place_facts(self) -> None:
        with element("dl", "facts"):
            for fact in facts(self._board.seen):
                with Text("div", css="fact idle") as box:
                    title = Text("dt", fact.title)
                    value = Text("dd", fact.value, css="value")
                    words = Text("dd", fact.words, css="words")
                self._facts.append((box, title, value, words))

    async def _look(self) -> None:
        board = self._board
        self._clock.say(f"{board.now.astimezone(MARKET_ZONE):%d %b %H:%M:%S} IST")
        if board.version != self._version:
            self._version = board.version
            found = facts(board.seen)
            for (box, title, value, words), fact in zip(self._facts, found, strict=True):
                box.say("", f"fact {fact.level}")
                title.say(fact.title)
                value.say(fact.value, "value said")
                words.say(fact.words, "words")
            flow = found[0]
            self._state.say(f"{flow.title} {flow.value}", f"badge {flow.level}")
        self.watch.refresh()
        if self.chart.is_empty and len(board.watch):
            await self._choose(str(board.watch.rows()[0]["key"]), opens=False)
        if self._tabs.open == CHART:
            await self.chart.refresh()
        elif self._tabs.open == CHAIN:
            await self.chain.refresh()
        elif self._tabs.open == SIGNALS:
            self.signals.refresh()
        else:
            self.feed.refresh(time.monotonic())

    async def _choose(self, key: str, *, opens: bool = True) -> None:
        """Show the chart of an instrument."""
        self.watch.choose(key)
        if opens and self._tabs.open != CHART:
            await self._tabs.show(CHART)
        await self.chart.choose(key)

    async def _opened(self, name: str) -> None:
        if name == CHAIN:
            await self.chain.open()
        else:
            self.chain.close()
        await self._look()

    def _left(self) -> None:
        self._board.look_away(self._viewer)
        self.chart.close()
