"""Names as they were resolved last: kept, merged, and read whatever the file holds."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingest.settings import Settings, settings
from ingest.universe import resolved_names as names
from ingest.universe.resolved_names import UNDERLYINGS, UNIVERSE, Resolved, file_of, recalled, remember, remembered

ON = date(2026, 11, 27)
INFY, FUTURE, OPTION = "NSE_EQ|INE009A01021", "NSE_FO|53001", "NSE_FO|53002"


def configured(home: Path, **given: Any) -> Settings:
    return settings(**{"home": home, "universe": (), "underlyings": ()} | given)


def test_recalled_keys_are_keys_and_names_what_they_meant_last(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = configured(home, universe=("INFY", "NSE_FO|1", "NOSUCH"), underlyings=("INFY", "TCS"), mode="ltpc")
    assert recalled(config) == {"NSE_FO|1": "ltpc"}
    remember(config, {UNIVERSE: {"INFY": Resolved(ON, {INFY: "full"})}})
    remember(config, {UNDERLYINGS: {"INFY": Resolved(ON, {FUTURE: "full", OPTION: "option_greeks"})}})
    caplog.clear()
    assert recalled(config) == {INFY: "ltpc", "NSE_FO|1": "ltpc", FUTURE: "full", OPTION: "option_greeks"}
    assert "name 'INFY' is taken as it was on 2026-11-27: NSE_EQ|INE009A01021" in caplog.text
    assert "name 'NOSUCH' is skipped" in caplog.text and "underlying 'TCS' is skipped" in caplog.text
    caplog.clear()
    assert recalled(configured(home, universe=("NOSUCH",))) == {} and not caplog.text


def test_remembered_file_of_another_collector_is_its_own(home: Path) -> None:
    config = configured(home)
    remember(config, {UNIVERSE: {"INFY": Resolved(ON, {INFY: "full"})}})
    assert file_of(config) == home / "journal" / "default.names.json"
    assert recalled(configured(home, universe=("INFY",), collector="other")) == {}


DAMAGED = ["", "{", "[]", "null", "\0", '{"universe": []}', '{"universe": {"INFY": 1}}']


@pytest.mark.parametrize("text", [*DAMAGED, '{"universe": {"INFY": ["x", {"NSE_FO|1": "full"}]}}'])
def test_remembered_damaged_file_is_said_and_replaced(home: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    config = configured(home)
    file_of(config).parent.mkdir(parents=True)
    file_of(config).write_text(text)
    assert remembered(config) == {UNIVERSE: {}, UNDERLYINGS: {}}
    assert "cannot be read" in caplog.text
    fresh = {UNIVERSE: {"INFY": Resolved(ON, {INFY: "full"})}, UNDERLYINGS: {}}
    remember(config, fresh)
    assert remembered(config) == fresh
    assert [path.name for path in file_of(config).parent.iterdir()] == ["default.names.json"]


def test_remembered_key_or_mode_that_is_none_is_left_out(home: Path) -> None:
    config = configured(home)
    file_of(config).parent.mkdir(parents=True)
    keys = '{"no key": "full", "NSE_FO|1": "much", "NSE_FO|53001": "full"}'
    file_of(config).write_text(f'{{"universe": {{"INFY": ["2026-11-27", {keys}], "TCS": ["2026-11-27", {{}}]}}}}')
    assert remembered(config)[UNIVERSE] == {"INFY": Resolved(ON, {FUTURE: "full"})}


def test_remember_keeps_the_newest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "NAMES_MAX", 2)
    config = configured(home)
    for day in (3, 1, 2):
        remember(config, {UNIVERSE: {f"N{day}": Resolved(date(2026, 11, day), {f"NSE_FO|{day}": "full"})}})
    assert sorted(remembered(config)[UNIVERSE]) == ["N2", "N3"]
