"""Side tables: write what a batch found besides its ticks, such as gaps, rejected ticks and official bars.

Runs inside the writer's transaction, so findings are written exactly once, like ticks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from ingest.database.queries import query
from ingest.market.session_opens import SessionOpen
from ingest.market.time import utc_of_ms, utc_of_us
from ingest.store.batch import Batch, plain
from ingest.store.side_limits import Findings

Connection = psycopg.Connection[tuple[Any, ...]]


def write_findings(connection: Connection, collector: str, stream: str, batch: Batch, refused: Findings) -> None:
    """Write gaps, official bars and session opens of a batch, and the refused updates and frames that are kept."""
    _write_refused(connection, {"collector": collector, "segment": f"{stream}/{batch.segment}"}, refused)
    if batch.breaks or batch.gaps:
        base = {"collector": collector, "connection": stream}
        connection.cursor().executemany(query("store/record_gap"), [base | gap for gap in _gaps(batch)])
    if batch.unheard:
        ids, started_ms, ended_ms, gaps = map(list, zip(*batch.unheard, strict=True))
        connection.execute(
            query("store/note_unheard"),
            {
                "instrument_ids": ids,
                "started": [utc_of_ms(ms) for ms in started_ms],
                "ended": [utc_of_ms(ms) for ms in ended_ms],
                "gaps": gaps,
            },
        )
    note_opens(connection, batch.opens)
    if batch.official:
        ids, bucket_ms, open_, high, low, close, volumes, received_us = map(list, zip(*batch.official, strict=True))
        connection.execute(
            query("store/take_official_bars"),
            {
                "instrument_ids": ids,
                "buckets": [utc_of_ms(ms) for ms in bucket_ms],
                "open": open_,
                "high": high,
                "low": low,
                "close": close,
                "volumes": volumes,
                "received": [utc_of_us(us) for us in received_us],
            },
        )


def note_opens(connection: Connection, opens: Sequence[SessionOpen]) -> None:
    """Record when sessions open; the database keeps only unusual times."""
    if not opens:
        return
    newest = {(one.segment, one.day): one.opens_at for one in opens}  # one statement may write a row only once
    connection.execute(
        query("store/note_sessions"),
        {
            "segments": [segment for segment, _ in newest],
            "days": [day for _, day in newest],
            "opens_at": list(newest.values()),
        },
    )


def _write_refused(connection: Connection, base: dict[str, Any], refused: Findings) -> None:
    if refused.quarantined:
        connection.cursor().executemany(
            query("refused/quarantine_frame"),
            [
                base
                | {
                    "end_offset": frame.end_offset,
                    "seq": frame.seq,
                    "received_at": utc_of_us(frame.received_us),
                    "reason": frame.reason,
                    "payload": frame.payload,
                }
                for frame in refused.quarantined
            ],
        )
    if refused.rejected:
        connection.cursor().executemany(
            query("refused/reject_tick"),
            [
                base
                | {
                    "end_offset": tick.end_offset,
                    "seq": tick.seq,
                    "instrument_id": tick.instrument_id,
                    "tick": Jsonb(plain(tick.tick), dumps=lambda value: json.dumps(value, default=str)),
                    "sqlstate": tick.sqlstate,
                    "reason": tick.reason,
                    "updates": tick.updates,
                    "held_back": tick.held_back,
                }
                for tick in refused.rejected
            ],
        )


def _gaps(batch: Batch) -> list[dict[str, Any]]:
    """Return rows of `feed_gaps`: one for each break of the connection, one for each volume that a break hid."""
    found: list[tuple[int | None, int, int, str, int | None]] = [
        (None, gap.started_ms, gap.ended_ms, gap.reason, None) for gap in batch.breaks
    ]
    found += [
        (
            gap.instrument_id,
            gap.started_ms,
            gap.ended_ms,
            "volume before we began" if gap.began else "volume of a break",
            gap.volume,
        )
        for gap in batch.gaps
    ]
    return [
        {
            "instrument_id": instrument_id,
            "started_at": utc_of_ms(started_ms),
            "ended_at": utc_of_ms(ended_ms),
            "reason": reason,
            "volume": volume,
        }
        for instrument_id, started_ms, ended_ms, reason, volume in found
    ]
