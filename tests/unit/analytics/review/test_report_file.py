"""The page of a report: what it says, and that nothing in it is taken for markup or asks another host."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analytics.cli.spikes_label import VERDICTS as CHOICES
from analytics.review.labels import VERDICTS
from analytics.review.report_file import report_file, write_report
from analytics.review.summary import best_and_worst
from ingest.errors import ConfigError
from tests.unit.analytics.review.reports import bars, made_report

REPORT = made_report()
BEST, WORST = (part.to_dicts() for part in best_and_worst(REPORT.signals, 6))
DRAWN = [*(("best", row, bars()) for row in BEST), *(("worst", row, bars()) for row in WORST)]


class Text(HTMLParser):
    """The words of a page without its scripts, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.tags, self._is_hidden = "", [], False  # type: ignore[var-annotated]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._is_hidden = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self._is_hidden = False

    def handle_data(self, data: str) -> None:
        if not self._is_hidden:
            self.words = " ".join([*self.words.split(), *data.split()])


def test_page_says_what_there_is_and_takes_no_text_for_markup() -> None:
    page = report_file(REPORT, DRAWN)
    text = Text(page)
    assert text.tags.count("script") == 2 and text.tags.count("b") == 1 + 3 * len(DRAWN) + 3 * REPORT.signals.height
    assert not re.search(r"""(src|href)\s*=""", page.partition('<script type="application/json"')[0])
    for words in (
        "Signals, 27 Nov 2026", "3 signals and 1 missed by all", "SHARE1 ▲ up", "severity high, confidence 0.90",
        "+2.00 %", "-1.00 %", "with SHARE1 FUT", "50 % of 2", "Labelled right </script><b>&", "Missed, as labelled",
    ):  # fmt: skip
        assert words in text.words, words
    content = json.loads(page.partition('id="content">')[2].partition("</script>")[0])
    assert [len(one["bars"]) for one in content["data"]] == [60] * len(DRAWN)
    [[at, direction, confidence, price, _]] = content["data"][0]["signals"]
    assert at in {bar[0] for bar in content["data"][0]["bars"]}
    assert (direction, confidence, price) == ("up", 0.9, 100.0)


def test_page_without_signals_and_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    empty = type(REPORT)(
        REPORT.start, REPORT.end, REPORT.signals.clear(), REPORT.figures.clear(), REPORT.missed.clear()
    )
    assert "No signal is stored for this time." in Text(report_file(empty, [])).words
    with pytest.raises(ConfigError, match="name another with --html"):
        write_report(empty, [], tmp_path / "absent" / "report.html")


def test_command_names_the_verdicts_of_labels() -> None:
    assert CHOICES == VERDICTS
