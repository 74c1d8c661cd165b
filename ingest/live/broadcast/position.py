"""Positions in the stream of events: their text, which clients send back to resume. Pure.

    default:120,100000000045;bars=1764493200;signals=1764493200123456;c7

names the collector, then for each recorded connection the last `seq` whose ticks the client has, as `ticks` has it
(each connection numbers its records from a start of its own); then the newest minute of bars (epoch seconds, its end)
and the newest signal (`created_at`, epoch microseconds), if the client asked for them; and the number of the client. A
position stands behind whole frames only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingest.live.stream import SEQ_STEP

BARS, SIGNALS = "bars", "signals"
CHARS_MAX = 400  # 20 connections need 300
_TEXT = re.compile(
    r"(?P<collector>[A-Za-z0-9_.-]{1,40}):(?P<seqs>\d{1,18}(,\d{1,18})*)?"
    r"(;bars=(?P<bars>\d{1,18}))?(;signals=(?P<signals>\d{1,18}))?(;c(?P<client>\d{1,18}))?"
)


@dataclass(frozen=True, slots=True)
class EventPosition:
    """Where a client stands.

    Attributes
    ----------
    collector
        The recorder that numbered the records.
    reached
        Name of a connection's stream -> last seq; `BARS` -> epoch seconds; `SIGNALS` -> epoch microseconds.
    client
        Number of the client that got the position; None: a person or a program made it.
    """

    collector: str
    reached: Mapping[str, int]
    client: int | None = None

    def text(self) -> str:
        """Return the position as text."""
        seqs = sorted(seq for name, seq in self.reached.items() if name not in {BARS, SIGNALS})
        parts = [f"{self.collector}:{','.join(map(str, seqs))}"]
        parts += [f"{name}={self.reached[name]}" for name in (BARS, SIGNALS) if name in self.reached]
        if self.client is not None:
            parts.append(f"c{self.client}")
        return ";".join(parts)


def parsed(text: str) -> EventPosition | None:
    """Return the position in a text; None: it is not one."""
    found = _TEXT.fullmatch(text) if len(text) <= CHARS_MAX else None
    if found is None:
        return None
    reached = {stream_of(int(seq)): int(seq) for seq in (found["seqs"] or "").split(",") if seq}
    reached |= {name: int(found[name]) for name in (BARS, SIGNALS) if found[name]}
    return EventPosition(found["collector"], reached, int(found["client"]) if found["client"] else None)


def stream_of(seq: int) -> str:
    """Return the name of the stream that has numbered a record."""
    return str(max(seq - 1, 0) // SEQ_STEP + 1)


def first_seq(stream: str) -> int:
    """Return the first seq of a stream, which is never a frame: it stands where nothing is recorded yet."""
    return (int(stream) - 1) * SEQ_STEP + 1
