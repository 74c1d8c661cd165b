"""HTML elements as the page uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments


class Text(TextElement):
    """An element with a text, sent only when it changes."""

    def __init__(self, tag: str, text: str = "", *, css: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.css = css
        self.classes(css)

    def say(self, text: str, css: str | None = None) -> None:
        """Change the text, and the class if one is given."""
        if text != self.text:
            self.set_text(text)
        if css is not None and css != self.css:
            self.classes(replace=css)
            self.css = css


def element(tag: str, css: str = "", **attributes: str) -> Element:
    """Return an element with attributes; `_` in their names stands for `-`."""
    found = ui.element(tag).classes(css)
    found.props.update({name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    return found


class Tabs:
    """Tabs by the pattern of ARIA: arrow keys move between them.

    Parameters
    ----------
    names
        Of the tabs, the first is open.
    on_open
        Called with the name of a tab that was opened.
    """

    def __init__(self, names: Sequence[str], on_open: Callable[[str], Any]) -> None:
        self.open = names[0]
        self._on_open = on_open
        self._buttons: dict[str, Text] = {}
        self._panels: dict[str, Element] = {}
        with element("div", "tabs", role="tablist", aria_label="Views") as bar:
            for name in names:
                button = Text("button", name)
                button.props.update({"type": "button", "role": "tab", "aria-controls": f"panel-{name.split()[0]}"})
                button.on("click", lambda name=name: self.show(name))
                self._buttons[name] = button
        # Focus moves in the browser; the click that follows opens the tab here.
        bar.on(
            "keydown",
            js_handler="""(event) => {
                const tabs = [...event.currentTarget.children], at = tabs.indexOf(document.activeElement);
                const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
                if (at < 0 || to === undefined) return;
                event.preventDefault();
                const tab = tabs[(to + tabs.length) % tabs.length];
                tab.focus(); tab.click();
            }""",
        )
        for name in names:
            self._panels[name] = element(
                "div", role="tabpanel", id=f"panel-{name.split()[0]}", aria_label=name, tabindex="-1"
            )
        self._mark()

    def panel(self, name: str) -> Element:
        """Return the element that a tab shows."""
        return self._panels[name]

    async def show(self, name: str) -> None:
        """Open a tab."""
        self.open = name
        self._mark()
        await self._on_open(name)

    def _mark(self) -> None:
        for name, button in self._buttons.items():
            is_open = name == self.open
            button.props.update({"aria-selected": "true" if is_open else "false", "tabindex": "0" if is_open else "-1"})
            self._panels[name].set_visibility(is_open)


class Choice(Element):
    """A native choice with a label, for phones and readers.

    Parameters
    ----------
    label
        What is chosen.
    on_choose
        Called with the chosen value.
    """

    def __init__(self, label: str, on_choose: Callable[[str], Any]) -> None:
        super().__init__("label")
        self._options: list[tuple[str, str]] = []
        with self:
            Text("span", label)
            self._select = element("select")

        async def choose(event: GenericEventArguments) -> None:
            await on_choose(str(event.args))

        self._select.on("change", choose, js_handler="(event) => emit(event.target.value)")

    def offer(self, options: Sequence[tuple[str, str]], chosen: str) -> None:
        """Offer values with their names; nothing is sent if they are the same."""
        if list(options) == self._options:
            return
        self._options = list(options)
        self._select.clear()
        with self._select:
            for value, name in options:
                option = Text("option", name)
                option.props.update({"value": value} | ({"selected": "selected"} if value == chosen else {}))
