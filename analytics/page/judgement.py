"""Judge what the ingester and the database say: is everything flowing, in words and as a level. Pure.

Must not know how it is shown, nor where the answers came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OK, WARNING, BAD, IDLE = "ok", "warning", "bad", "idle"  # levels
BEHIND_BYTES = 8 * 2**20  # a journal further ahead of the database than this is behind: some seconds of a busy feed
SHOWN_RATES = 5  # polls in the shown rate: frames come in bursts
RECENT_S = 15.0  # how long a reconnection is shown beside the state


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing to see at a glance.

    Attributes
    ----------
    title, value
        Its name and what it is, a few words each.
    words
        What that means, or what to do.
    level
        OK, WARNING, BAD or IDLE.
    """

    title: str
    value: str
    words: str
    level: str


@dataclass(slots=True)
class Seen:
    """What was last heard.

    Attributes
    ----------
    status, health
        Answers of the API; None: none yet.
    api_error, database_error
        Why there is no answer now; "": there is.
    database_comes_back
        Whether the database is only away; otherwise somebody must do what the error says.
    ticks_per_s
        Ticks per second of the last polls, oldest first.
    delay_ms
        Median time from an update's exchange time until it was received; None: not known.
    commit_ms
        From receipt to commit: median and 99th percentile of the last minute, milliseconds; None: not known.
    gaps, repaired
        Of the newest session; None: not known.
    reconnected
        When each connection was last seen to have been lost and opened again, by name, monotonic seconds.
    """

    status: dict[str, Any] | None = None
    health: dict[str, Any] | None = None
    api_error: str = "the ingester was not asked yet"
    database_error: str = ""
    database_comes_back: bool = True
    ticks_per_s: list[float] = field(default_factory=list)
    delay_ms: float | None = None
    commit_ms: tuple[float, float] | None = None
    gaps: int | None = None
    repaired: int = 0
    reconnected: dict[str, float] = field(default_factory=dict)


def facts(seen: Seen) -> list[Fact]:
    """Return what a trader wants to know first, the most important first."""
    return [
        _flow(seen),
        _rate(seen),
        _delay(seen),
        _keys(seen),
        _gaps(seen),
        _journal(seen),
        _database(seen),
    ]


def _flow(seen: Seen) -> Fact:
    title = "Feed"
    if seen.api_error or seen.status is None or seen.health is None:
        return Fact(title, "not known", seen.api_error, BAD)
    problems, warnings = _texts(seen.health, "problems"), _texts(seen.health, "warnings")
    if problems:
        return Fact(title, "not flowing", "; ".join(problems), BAD)
    if not seen.status["subscriptions"]["total_symbols"]:
        return Fact(title, "nothing to record", "no key is subscribed: name some for `tickline start`", WARNING)
    states = set(seen.status.get("segments", {}).values())
    if states and states == {"closed"}:
        return Fact(title, "market closed", "nothing is expected" + _and(warnings), IDLE)
    if away := [one["name"] for one in seen.status["connections"] if _level_of(one) == BAD]:
        return Fact(title, "not flowing", f"connection {', '.join(away)} brings no data" + _and(warnings), BAD)
    if warnings:
        return Fact(title, "flowing", "; ".join(warnings), WARNING)
    age = seen.status.get("last_frame_age_s")
    return Fact(title, "flowing", "" if age is None else f"last frame {seconds(age)} ago", OK)


def _and(warnings: Sequence[str]) -> str:
    return "; " + "; ".join(warnings) if warnings else ""


def _rate(seen: Seen) -> Fact:
    title = "Ticks per second"
    if seen.api_error or not seen.ticks_per_s:
        return Fact(title, "-", "not known", IDLE)
    newest = seen.ticks_per_s[-SHOWN_RATES:]
    rate = sum(newest) / len(newest)
    mean = sum(seen.ticks_per_s) / len(seen.ticks_per_s)
    return Fact(title, f"{rate:,.0f}", f"on average {mean:,.0f} in the last minutes", OK if rate else IDLE)


def _delay(seen: Seen) -> Fact:
    title = "Delay"
    committed = seen.commit_ms if not seen.api_error else None
    share = "" if committed is None else f"to the database (99 %: {committed[1]:,.0f} ms)"
    if seen.delay_ms is not None and -1_000 < seen.delay_ms < 3_600_000:
        words = (
            "median from the exchange to here" if committed is None else f"here, {committed[0]:,.0f} ms more {share}"
        )
        return Fact(title, f"{seen.delay_ms:,.0f} ms", words, OK if seen.delay_ms < 2_000 else WARNING)
    # The simulator's market has times of its own.
    if committed is not None:
        return Fact(title, f"{committed[0]:,.0f} ms", f"from receipt {share}", OK)
    return Fact(title, "-", "from the exchange to here: not known", IDLE)


def _keys(seen: Seen) -> Fact:
    title = "Instruments"
    if seen.status is None or seen.api_error:
        return Fact(title, "-", "not known", IDLE)
    counts = seen.status["subscriptions"]
    silent, failed = len(seen.status.get("silent_keys", ())), counts["failed_count"]
    value = f"{counts['subscribed_count']:,} of {counts['total_symbols']:,}"
    if silent or failed:
        parts = [f"{silent:,} silent"] * bool(silent) + [f"{failed:,} not answered"] * bool(failed)
        return Fact(title, value, ", ".join(parts) + ": named under Feed", WARNING)
    if counts["subscribed_count"] < counts["total_symbols"]:
        return Fact(title, value, "confirmed by the feed so far", WARNING)
    return Fact(title, value, "all confirmed by the feed", OK)


def _gaps(seen: Seen) -> Fact:
    title = "Gaps today"
    if seen.gaps is None:
        return Fact(title, "-", "not known", IDLE)
    left = seen.gaps - seen.repaired
    value, level = f"{seen.gaps:,}" if seen.gaps else "none", WARNING if left else OK
    words = f"{left:,} not repaired yet" if left else "all repaired" if seen.gaps else "everything was received"
    if seen.api_error:  # the one that begins now is not known yet
        return Fact(title, value, f"until the ingester was last heard: {words}", WARNING if left else IDLE)
    return Fact(title, value, words, level)


def _journal(seen: Seen) -> Fact:
    title = "Journal"
    if seen.status is None or seen.api_error:
        return Fact(title, "-", "not known", IDLE)
    behind = seen.status["journal_lag_bytes"]
    trouble = [text for text in _texts(seen.health or {}, "problems") if text.startswith("journal")]
    if trouble:
        return Fact(title, "trouble", "; ".join(trouble), BAD)
    if behind > BEHIND_BYTES:
        return Fact(title, f"{behind / 1e6:,.1f} MB", "wait to be committed; nothing is lost", WARNING)
    return Fact(title, "up to date", f"{behind / 1e3:,.0f} kB wait to be committed", OK)


def _database(seen: Seen) -> Fact:
    title = "Database"
    away_s = seen.status.get("database_away_s") if seen.status is not None and not seen.api_error else None
    if away_s is not None:
        return Fact(title, "away", f"for {seconds(away_s)}; the journal keeps everything meanwhile", BAD)
    if seen.database_error:
        return Fact(title, "away" if seen.database_comes_back else "not usable", seen.database_error, BAD)
    return Fact(title, "answers", "", OK)


def connections(seen: Seen, now_s: float) -> list[dict[str, Any]]:
    """Return a row per connection of the feed; `now_s`: monotonic seconds."""
    if seen.status is None or seen.api_error:
        return []
    return [
        {
            "key": one["name"],
            "name": one["name"],
            "state": {"level": _level_of(one), "words": _words_of(one, seen, now_s)},
            "keys": one["keys"],
            "rate": one["frames_per_s"],
            "usual": one["frames_per_s_usual"],
            "age": "-" if one["last_frame_age_s"] is None else seconds(one["last_frame_age_s"]),
            "reconnects": one["alarms"]["reconnects"],
            "error": _error(one["last_error"]),
        }
        for one in seen.status["connections"]
    ]


def _level_of(connection: Mapping[str, Any]) -> str:
    if connection["state"] == "market closed":
        return IDLE
    if connection["state"] == "subscribing":
        return WARNING
    if connection["state"] != "live" or connection["verdict"] == "dead":
        return BAD
    return OK if connection["verdict"] == "well" else WARNING


def _words_of(connection: Mapping[str, Any], seen: Seen, now_s: float) -> str:
    words = str(connection["state"]) if connection["verdict"] == "well" else str(connection["verdict"])
    if connection["state"] != "live":
        words = str(connection["state"]) + (f" for {seconds(age)}" if (age := connection["state_s"]) else "")
    since = now_s - seen.reconnected.get(connection["name"], -RECENT_S)
    return f"{words}, reconnected {seconds(since)} ago" if since < RECENT_S else words


def _error(error: Mapping[str, Any] | None) -> str:
    if not error:
        return ""
    return f"{error['text']} ({'lasts' if error['state'] == 'now' else 'over'}; {error['count']:,} in all)"


def segments(seen: Seen) -> list[dict[str, Any]]:
    """Return a row per segment with its keys."""
    if seen.status is None or seen.api_error:
        return []
    confirmed, silent, failed = (
        Counter(key.partition("|")[0] for key in seen.status[name])
        for name in ("subscribed_keys", "silent_keys", "failed_keys")
    )
    found = []
    for segment in sorted(set(seen.status["segments"]) | set(confirmed) | set(silent) | set(failed)):
        market = seen.status["segments"].get(segment, "not known yet")
        heard, total = confirmed[segment], confirmed[segment] + silent[segment] + failed[segment]
        level, words = _flow_of(market, heard, total)
        found.append(
            {
                "key": segment,
                "name": segment,
                "market": market,
                "state": {"level": level, "words": words},
                "keys": total,
                "silent": silent[segment],
                "failed": failed[segment],
            }
        )
    return found


def _flow_of(market: str, heard: int, total: int) -> tuple[str, str]:
    if market == "closed":
        return IDLE, "market closed"
    if heard == total:
        return OK, "flows"
    return (WARNING, "flows in part") if heard else (BAD, "silent")


def _texts(answer: Mapping[str, Any], name: str) -> list[str]:
    """Return texts of an answer; a later program may give each as an object with a text."""
    return [str(one.get("text", one)) if isinstance(one, Mapping) else str(one) for one in answer.get(name, ())]


def seconds(value: float) -> str:
    """Return a duration for people.

    Examples
    --------
    >>> [seconds(value) for value in (0.04, 3.26, 75, 4000)]
    ['0.0 s', '3.3 s', '1 min 15 s', '1 h 6 min']
    """
    if value < 60:
        return f"{max(value, 0.0):.1f} s"
    minutes, rest = divmod(int(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
