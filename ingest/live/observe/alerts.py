"""Alerts to people: which conditions are worth a message, when one is sent, and in what form. Pure.

Each alert is sent once when it begins, and once when it is over, however often its condition comes and goes in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ingest.live.observe.conditions import Condition

# Condition -> how long it must have lasted, seconds. Others can be seen, but wake nobody.
AFTER_S = {
    "feed_silent": 0.0,  # it is called silent after 8 s only
    "feed_down": 5.0,  # a reconnect takes less
    "token_refused": 0.0,
    "token_ending": 0.0,
    "keys_left_out": 0.0,
    "keys_failed": 30.0,  # a key that is asked for again is answered at once
    "keys_silent": 0.0,  # it is called silent after two minutes only
    "journal_unwritable": 0.0,
    "journal_disk": 0.0,
    "database_away": 55.0,  # it is called away after 5 s
    "no_writer": 0.0,  # it is said after 30 s only
    "gaps_unrepaired": 0.0,
}
CLEAR_S = 20.0  # how long a condition must be gone: a dead connection is replaced before the new one is found silent
TEXT_CHARS_MAX = 1_000  # Telegram takes 4,096


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent; `state` is "begins", "over" or "signal"."""

    id: str
    state: str
    severity: str
    text: str


@dataclass(slots=True)
class _Alert:
    message: Message
    began_s: float
    seen_s: float
    is_sent: bool = False


@dataclass(slots=True)
class Alerts:
    """The alerts that last. Times are seconds of any monotonic clock."""

    _lasting: dict[str, _Alert] = field(default_factory=dict)

    def step(self, conditions: Iterable[Condition], now_s: float) -> list[Message]:
        """Take the conditions that hold now; return the messages that are due."""
        found: dict[str, list[Condition]] = {}
        for one in conditions:
            if one.id in AFTER_S and not (one.id == "keys_left_out" and one.severity == "warning"):
                found.setdefault(one.id, []).append(one)
        due: list[Message] = []
        for id_, of_it in found.items():
            severity = "problem" if any(one.severity == "problem" for one in of_it) else "warning"
            text = "; ".join(one.text for one in of_it)[:TEXT_CHARS_MAX]
            alert = self._lasting.setdefault(id_, _Alert(Message(id_, "begins", severity, text), now_s, now_s))
            alert.seen_s = now_s
            if not alert.is_sent and now_s - alert.began_s >= AFTER_S[id_]:
                alert.is_sent, alert.message = True, Message(id_, "begins", severity, text)
                due.append(alert.message)
        for id_, alert in list(self._lasting.items()):
            if not alert.is_sent and id_ not in found:
                del self._lasting[id_]
            elif now_s - alert.seen_s >= CLEAR_S:
                del self._lasting[id_]
                text = f"{alert.message.text} (lasted {alert.seen_s - alert.began_s:,.0f} s)"
                due.append(Message(id_, "over", alert.message.severity, text))
        return due


def filled(template: str, message: Message, collector: str) -> dict[str, Any]:
    """Return the JSON object to post: the template with its places filled, in texts of any depth.

    Parameters
    ----------
    template
        JSON object; in its texts `{text}` is the whole message, `{title}` its first words, `{id}`, `{state}`,
        `{severity}` and `{collector}` its parts.
    message, collector
        What is said, and by which ingester.

    Examples
    --------
    >>> silent = Message("feed_silent", "begins", "problem", "connection 1 is silent")
    >>> filled('{"chat_id": 7, "text": "{text}"}', silent, "default")
    {'chat_id': 7, 'text': 'Tickline default, problem: connection 1 is silent'}
    """
    kind = {"begins": message.severity, "over": "over", "signal": "signal"}[message.state]
    title = f"Tickline {collector}, {kind}"
    parts = {
        "text": f"{title}: {message.text}",
        "title": title,
        "id": message.id,
        "state": message.state,
        "severity": message.severity,
        "collector": collector,
    }
    found: dict[str, Any] = _filled(json.loads(template), parts)
    return found


def _filled(value: Any, parts: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, parts) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, parts) for part in value]
    if isinstance(value, str):
        pieces = value.split("{")
        return pieces[0] + "".join(_piece(piece, parts) for piece in pieces[1:])
    return value


def _piece(piece: str, parts: dict[str, str]) -> str:
    """Return what follows a brace, with the part that it names; once, so that a message's own braces stay."""
    name, brace, rest = piece.partition("}")
    return parts[name] + rest if brace and name in parts else "{" + piece
