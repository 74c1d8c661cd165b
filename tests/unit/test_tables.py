from __future__ import annotations

import pytest

from tests.perf.tables import DOCUMENT, NAMES, markdown, replaced

TEXT = "before\n<!-- bench:ingest -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:scale -->\n<!-- /bench -->\nafter\n"


@pytest.mark.parametrize(
    ("name", "block", "text"),
    [
        ("ingest", "new \\1\n", TEXT.replace("old", "\nnew \\1\n")),
        ("scale", "x", TEXT.replace("scale -->\n", "scale -->\n\nx\n\n")),
    ],
)
def test_only_what_is_between_the_markers_is_replaced(name: str, block: str, text: str) -> None:
    assert replaced(TEXT, name, block) == text
    assert replaced(text, name, block) == text


@pytest.mark.parametrize(
    "text", ["", "<!-- bench:ingest -->\n", TEXT + TEXT, TEXT.replace("<!-- /bench -->\nbetween", "between")]
)
def test_document_without_its_markers_once_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="markers <!-- bench:ingest -->"):
        replaced(text, "ingest", "new")


def test_document_has_the_markers_of_every_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in NAMES:
        assert "a table" in replaced(text, name, "a table")


def test_table_is_markdown() -> None:
    assert markdown([{"a": "1", "b": ""}]) == "| a | b |\n| --- | --- |\n| 1 |  |"
    assert markdown([]) == ""
