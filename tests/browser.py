"""A real browser for tests of the page: Debian's chromium without a window, and what it complained about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt install chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WITHIN_MS = 60_000.0  # a condition that takes longer never comes
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser; each start has a folder of its own, which goes with it."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


class Seen:
    """A page in a browser, with the complaints and the requests to other hosts since it was opened.

    Parameters
    ----------
    browser
        The browser.
    url
        Of the page, with a slash at its end.
    size, shade
        "desk" or "phone"; "light" or "dark".
    """

    def __init__(self, browser: Browser, url: str, *, size: str = "desk", shade: str = "light") -> None:
        width, height = SIZES[size]
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if shade == "dark" else "light"
        )
        self.context.set_default_timeout(WITHIN_MS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        own = (url, url.replace("http:", "ws:"), "data:", "blob:")
        self.page.on("request", lambda asked: None if asked.url.startswith(own) else self.foreign.append(asked.url))
        self.page.on(
            "websocket", lambda socket: None if socket.url.startswith(own) else self.foreign.append(socket.url)
        )
        self.page.goto(url)

    def _said(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")

    def open(self, tab: str) -> None:
        """Open a tab of the page."""
        self.page.get_by_role("tab", name=tab).click()

    def faults(self, within: str | None = None) -> list[str]:
        """Serious faults that axe finds in what is shown, or in a part of it: the rule, and where."""
        found: dict[str, Any] = Axe().run(self.page, within).response
        return [
            f"{fault['id']}: {node['target']} {node.get('failureSummary', '')}"
            for fault in found["violations"]
            if fault["impact"] in {"serious", "critical"}
            for node in fault["nodes"]
        ]
