"""History: ticks, bars and signals from the database, for a client whose place the ring does not reach.

The database makes the rows' text, so that the recorder's process only passes it on. It is asked for a MiB of the
journal at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from ingest.database.questions import Questions
from ingest.errors import StoreError

PAGES_MAX = 300  # of a MiB of journal each: minutes of the largest feed, hours of a usual one
COMMITTED_POLL_S = 0.05
PATIENCE_S = 60.0  # how long an answer is waited for: a database that is busy, or restarts, is no loss for a client
RETRY_S, RETRY_S_MAX = 0.5, 4.0  # wait before a question is asked again, doubled each time

T = TypeVar("T")


class HistoryError(Exception):
    """What a client has missed cannot be read; the text says why."""


async def ticks(
    questions: Questions,
    *,
    collector: str,
    stream: str,
    keys: Sequence[str] | None,
    after: int,
    until: int,
    committed: Callable[[], int],
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Yield the ticks of a range of records, page by page, in order of `seq`.

    Parameters
    ----------
    questions
        Asks the database.
    collector, stream
        Who numbered the records.
    keys
        Instrument keys; None: all.
    after, until
        The first record is the one after `after`, the last is `until`.
    committed
        Returns the last committed seq of the stream.

    Yields
    ------
    tuple
        The seq behind the page, and its rows in the form of `encoding.STREAM_COLUMNS`.

    Raises
    ------
    HistoryError
        If the range is too long, the database stays away, or another collector has ticks that cannot be told from
        these.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while committed() < until:  # noqa: ASYNC110  a commit is no event for us
                await asyncio.sleep(COMMITTED_POLL_S)
    except TimeoutError:
        raise HistoryError(f"the newest records have not been committed for {PATIENCE_S:g} s") from None
    parameters = {"collector": collector, "stream": stream, "after": after, "until": until}
    pages = await _rows(questions, "stream/pages_of_records", parameters | {"pages_max": PAGES_MAX + 1})
    if len(pages) > PAGES_MAX:
        raise HistoryError(f"it is more than {PAGES_MAX} MiB of the journal: read these ticks from the database")
    for last_seq, first_ts, last_ts, other in pages:
        if other is not None:
            raise HistoryError(
                f"collector {other!r} has ticks of the same time and numbers: nothing in the database tells them apart"
            )
        last = min(last_seq, until)
        if first_ts is not None:
            span = {"after": after, "until": last, "first_ts": first_ts, "last_ts": last_ts}
            found = await _rows(questions, "stream/ticks_of_records", span | {"instrument_keys": keys})
            yield last, [text.encode() for (text,) in found]
        after = last
    if after < until:
        yield until, []


async def patiently(question: Callable[[], Awaitable[T]]) -> T:
    """Return the answer to a question, which is asked again while the database is busy or away.

    Raises
    ------
    HistoryError
        If there is no answer within `PATIENCE_S`.
    """
    until_s, wait_s = time.monotonic() + PATIENCE_S, RETRY_S
    while True:
        try:
            return await question()
        except StoreError as exc:
            if time.monotonic() + wait_s > until_s:
                raise HistoryError(f"{exc} (asked for {PATIENCE_S:g} s)") from exc
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, RETRY_S_MAX)


async def _rows(questions: Questions, name: str, parameters: dict[str, object]) -> list[tuple]:  # type: ignore[type-arg]
    return await patiently(lambda: questions.rows(name, parameters))
