"""Settings that are unknown or unwise, and files that others may read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.doctor.configuration import check_modes, check_settings, check_wisdom
from ingest.doctor.findings import State
from ingest.doctor.installation import Installation
from ingest.doctor.storage import check_disk, check_journal
from ingest.errors import ConfigError, JournalError

Place = Callable[..., Installation]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An installation of these settings; nothing answers."""
    made = []

    def make(**given: str) -> Installation:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        made.append(Installation(lambda _: None))
        return made[-1]

    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TICKLINE_API_PORT", "1")
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTOX_API_URL", "https://upstox.example"),
        ("TICKLINE_API_HOST", "0.0.0.0"),
        ("TICKLINE_JOURNAL_HOST", "0.0.0.0"),
        ("TICKLINE_JOURNAL_FSYNC_MS", "5000"),
        ("TICKLINE_JOURNAL_KEEP_DAYS", "0"),
        ("TICKLINE_JOURNAL_FREE_BYTES_MIN", "0"),
        ("TICKLINE_COMMIT_PACE_MS", "5000"),
        ("TICKLINE_BACKFILL_S", "0"),
        ("TICKLINE_RETAIN_DAYS", "30"),
    ],
)
def test_unwise_setting_is_a_warning_with_its_remedy(name: str, value: str, place: Place) -> None:
    usual = {text for _, text, _ in check_wisdom(place(UPSTOX_API_URL="https://api.upstox.com"))}
    found = [one for one in check_wisdom(place(**{name: value})) if one[1] not in usual]
    assert len(found) == 1 and found[0][0] is State.WARNING and found[0][2]
    assert name in found[0][1] + found[0][2]


def test_setting_that_nothing_reads_is_named_and_a_wrong_one_is_an_error(place: Place) -> None:
    found = list(check_settings(place(TICKLINE_WHATEVER_ELSE="x")))
    assert [state for state, text, _ in found if "TICKLINE_WHATEVER_ELSE" in text] == [State.WARNING]
    assert found[-1][0] is State.OK
    with pytest.raises(ConfigError, match="TICKLINE_API_PORT"):
        list(check_settings(place(TICKLINE_API_PORT="many")))


def test_file_with_secrets_that_others_may_read_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TICKLINE_MODE=full\n")
    (tmp_path / ".env").chmod(0o644)
    (found,) = check_modes(place())
    assert found[0] is State.WARNING and found[2] == "run `chmod 600 .env`"
    (tmp_path / ".env").chmod(0o600)
    (found,) = check_modes(place())
    assert found[0] is State.OK


def test_disk_that_will_stop_the_feed_is_a_failure_and_one_nearly_so_a_warning(place: Place) -> None:
    def state(least: int) -> State:
        ((found, _, _),) = check_disk(place(TICKLINE_JOURNAL_FREE_BYTES_MIN=str(least)))
        return found

    assert state(2**60) is State.FAILURE
    assert state(0) is State.OK


def test_journal_whose_newest_segment_is_damaged_or_whose_quota_is_used_up_fails(place: Place, tmp_path: Path) -> None:
    stream = tmp_path / "home" / "journal" / "default" / "1"
    stream.mkdir(parents=True)
    ((state, text, _),) = check_journal(place())
    assert (state, text.split(",")[0]) == (State.OK, "stream 1: 0 segment(s)")
    (stream / "20251215-000000000000001.journal").write_bytes(b"TICKJRNL" + bytes(100))
    with pytest.raises(JournalError):
        list(check_journal(place()))
