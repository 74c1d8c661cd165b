"""What the page says about answers of the ingester, in words and levels."""

from __future__ import annotations

from typing import Any

import pytest

from analytics.page.judgement import BAD, IDLE, OK, WARNING, Seen, connections, facts, segments

CONNECTION: dict[str, Any] = {
    "name": "1",
    "state": "live",
    "state_s": 75.0,
    "verdict": "well",
    "keys": 3,
    "frames_per_s": 4.0,
    "frames_per_s_usual": 5.0,
    "last_frame_age_s": 0.2,
    "alarms": {"reconnects": 0},
    "last_error": None,
}
KEYS = ["NSE_FO|1", "NSE_FO|2", "NSE_EQ|3"]


def seen(
    connection: dict[str, Any] | None = None,
    *,
    silent: list[str] | None = None,
    failed: list[str] | None = None,
    problems: list[Any] | None = None,
    warnings: list[Any] | None = None,
    market: str = "open",
    lag: int = 0,
    away_s: float | None = None,
    **fields: Any,
) -> Seen:
    """What the page has of an ingester with three keys."""
    mute = [*(silent or ()), *(failed or ())]
    heard = [key for key in KEYS if key not in mute]
    status = {
        "subscriptions": {"total_symbols": 3, "subscribed_count": len(heard), "failed_count": len(failed or ())},
        "subscribed_keys": heard,
        "silent_keys": silent or [],
        "failed_keys": failed or [],
        "segments": {"NSE_FO": market, "NSE_EQ": market},
        "connections": [CONNECTION | (connection or {})],
        "last_frame_age_s": 0.2,
        "journal_lag_bytes": lag,
        "database_away_s": away_s,
    }
    health = {"problems": problems or [], "warnings": warnings or []}
    return Seen(status=status, health=health, **({"api_error": ""} | fields))


def said(found: Seen, title: str) -> tuple[str, str, str]:
    """Level, value and words of a fact."""
    return next((fact.level, fact.value, fact.words) for fact in facts(found) if fact.title == title)


@pytest.mark.parametrize(
    ("found", "level", "value", "part"),
    [
        (Seen(), BAD, "not known", "not asked yet"),
        (seen(api_error="no ingester answers on here"), BAD, "not known", "no ingester answers"),
        (seen(), OK, "flowing", "last frame 0.2 s ago"),
        (seen(problems=["connection 1 is silent"]), BAD, "not flowing", "connection 1 is silent"),
        (seen(problems=[{"code": "x", "text": "disk full"}]), BAD, "not flowing", "disk full"),
        (seen(warnings=["evening job failed"]), WARNING, "flowing", "evening job failed"),
        (seen(market="closed"), IDLE, "market closed", "nothing is expected"),
        # Health waits for half a minute; the page says at once what it sees.
        (seen({"state": "backing off"}), BAD, "not flowing", "connection 1 brings no data"),
        (seen({"verdict": "dead"}), BAD, "not flowing", "connection 1"),
    ],
)
def test_feed_is_judged(found: Seen, level: str, value: str, part: str) -> None:
    assert said(found, "Feed")[:2] == (level, value)
    assert part in said(found, "Feed")[2]


@pytest.mark.parametrize(
    ("found", "title", "level", "value", "part"),
    [
        (seen(), "Instruments", OK, "3 of 3", "all confirmed"),
        (seen(silent=["NSE_FO|1"], failed=["NSE_FO|2"]), "Instruments", WARNING, "1 of 3", "1 silent, 1 not answered"),
        (seen(gaps=0), "Gaps today", OK, "none", "everything"),
        (seen(gaps=3, repaired=3), "Gaps today", OK, "3", "all repaired"),
        (seen(gaps=3, repaired=1), "Gaps today", WARNING, "3", "2 not repaired yet"),
        (seen(), "Gaps today", IDLE, "-", "not known"),
        (seen(gaps=0, api_error="away"), "Gaps today", IDLE, "none", "until the ingester was last heard"),
        (seen(gaps=2, repaired=1, api_error="away"), "Gaps today", WARNING, "2", "1 not repaired yet"),
        (seen(database_error="no schema", database_comes_back=False), "Database", BAD, "not usable", "no schema"),
        (seen(lag=9 * 2**20), "Journal", WARNING, "9.4 MB", "nothing is lost"),
        (seen(problems=["journal: no space left"]), "Journal", BAD, "trouble", "no space left"),
        (seen(away_s=70.0), "Database", BAD, "away", "for 1 min 10 s"),
        (seen(database_error="cannot be reached"), "Database", BAD, "away", "cannot be reached"),
        (seen(ticks_per_s=[5.0] * 5 + [15.0] * 5), "Ticks per second", OK, "15", "on average 10"),
        (seen(delay_ms=140.0), "Delay", OK, "140 ms", "median"),
        (seen(delay_ms=-9e9), "Delay", IDLE, "-", "not known"),
        (
            seen(delay_ms=140.0, commit_ms=(6.2, 31.0)),
            "Delay",
            OK,
            "140 ms",
            "here, 6 ms more to the database (99 %: 31",
        ),
        (seen(commit_ms=(6.2, 31.0)), "Delay", OK, "6 ms", "from receipt to the database (99 %: 31 ms)"),
    ],
)
def test_fact_is_judged(found: Seen, title: str, level: str, value: str, part: str) -> None:
    assert said(found, title)[:2] == (level, value)
    assert part in said(found, title)[2]


@pytest.mark.parametrize(
    ("connection", "level", "words"),
    [
        ({}, OK, "live, reconnected 3.0 s ago"),
        ({"verdict": "slow"}, WARNING, "slow, reconnected 3.0 s ago"),
        ({"state": "backing off"}, BAD, "backing off for 1 min 15 s, reconnected 3.0 s ago"),
        ({"state": "market closed"}, IDLE, "market closed for 1 min 15 s, reconnected 3.0 s ago"),
    ],
)
def test_connection_is_judged(connection: dict[str, Any], level: str, words: str) -> None:
    (row,) = connections(seen(connection, reconnected={"1": 100.0}), 103.0)
    assert row["state"] == {"level": level, "words": words}
    assert "reconnected" not in connections(seen(connection, reconnected={"1": 100.0}), 200.0)[0]["state"]["words"]


def test_segments_are_judged_by_their_keys() -> None:
    rows = {row["name"]: row["state"] for row in segments(seen(silent=["NSE_FO|1"], failed=["NSE_EQ|3"]))}
    assert rows == {
        "NSE_FO": {"level": WARNING, "words": "flows in part"},
        "NSE_EQ": {"level": BAD, "words": "silent"},
    }
    assert {row["state"]["words"] for row in segments(seen(market="closed"))} == {"market closed"}


def test_nothing_is_said_of_connections_and_segments_of_an_ingester_that_is_away() -> None:
    found = seen(api_error="no ingester answers")
    assert (connections(found, 0.0), segments(found)) == ([], [])
