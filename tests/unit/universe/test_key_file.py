"""The universe of a collector: keys, from a file or the settings; what needs a database is refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.errors import ConfigError
from ingest.settings import Settings
from ingest.universe.key_file import keys_without_database

SHOWN = "instrument_key,mode,trading_symbol\nNSE_FO|53001,full_d30,NIFTY FUT\nNSE_INDEX|Nifty 50,ltpc,NIFTY\n"


def keys(tmp_path: Path, text: str | bytes | None, **given: Any) -> dict[str, str]:
    if text is not None:
        given["universe_file"] = tmp_path / "keys.csv"
        given["universe_file"].write_bytes(text.encode() if isinstance(text, str) else text)
    return keys_without_database(Settings(home=tmp_path, **given))


def test_file_that_universe_show_prints_is_taken_with_its_modes(tmp_path: Path) -> None:
    assert keys(tmp_path, SHOWN) == {"NSE_FO|53001": "full_d30", "NSE_INDEX|Nifty 50": "ltpc"}


def test_lines_of_a_person_are_taken_in_the_usual_mode_and_keys_of_the_settings_win(tmp_path: Path) -> None:
    text = "\ufeff# mine\n\n  NSE_FO|53001  \r\nNSE_EQ|INE009A01021 , ltpc\n"
    found = keys(tmp_path, text, universe=("NSE_EQ|INE009A01021",), mode="option_greeks")
    assert found == {"NSE_FO|53001": "option_greeks", "NSE_EQ|INE009A01021": "option_greeks"}


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        (None, {}, "nothing to record: set TICKLINE_UNIVERSE_FILE"),
        ("# none\n", {}, "nothing to record"),
        (None, {"universe": ("INFY",)}, "name 'INFY' needs a database, and a collector has none: give keys"),
        (None, {"underlyings": ("NIFTY", "INFY")}, "TICKLINE_UNDERLYINGS=NIFTY,INFY needs a database"),
        ("NSE_FO|1\nINFY\n", {}, r"line 2 of '.*keys.csv' has 'INFY', no instrument key: .*`tickline universe show"),
        ("NSE_FO|1,fast\n", {}, "line 1 of '.*' has mode 'fast': give one of ltpc, "),
        (b"\xff\xfe", {}, "is not text in UTF-8"),
        (None, {"universe_file": "/nowhere/keys"}, "file '/nowhere/keys' cannot be read: No such file or directory"),
    ],
)
def test_what_no_collector_can_record_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes | None, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        keys(tmp_path, text, **given)
