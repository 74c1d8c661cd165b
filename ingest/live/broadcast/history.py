"""History: ticks, bars and signals from the database, for a client whose place the ring does not reach.

The database makes the rows' text, so that the recorder's process only passes it on. It is asked for a MiB of the
journal at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from ingest.database.questions import Questions
from ingest.errors import StoreError

PAGES_MAX = 300  # of a MiB of journal each: minutes of the largest feed, hours of a usual one
COMMITTED_S = 5.0  # how long to wait until the newest records are committed
COMMITTED_POLL_S = 0.05
RETRIES_S = (0.5, 1.0)  # waits before a page is asked for again


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
        If the range is too long, or the database is away.
    """
    try:
        async with asyncio.timeout(COMMITTED_S):
            while committed() < until:  # noqa: ASYNC110  a commit is no event for us
                await asyncio.sleep(COMMITTED_POLL_S)
    except TimeoutError:
        raise HistoryError("the database is behind: the newest records are not committed yet") from None
    parameters = {"collector": collector, "stream": stream, "after": after, "until": until}
    pages = await _rows(questions, "stream/pages_of_records", parameters | {"pages_max": PAGES_MAX + 1})
    if len(pages) > PAGES_MAX:
        raise HistoryError(f"it is more than {PAGES_MAX} MiB of the journal: read these ticks from the database")
    for last_seq, first_ts, last_ts in pages:
        last = min(last_seq, until)
        if first_ts is not None:
            span = {"after": after, "until": last, "first_ts": first_ts, "last_ts": last_ts}
            found = await _rows(questions, "stream/ticks_of_records", span | {"instrument_keys": keys})
            yield last, [text.encode() for (text,) in found]
        after = last
    if after < until:
        yield until, []


async def _rows(questions: Questions, name: str, parameters: dict[str, object]) -> list[tuple]:  # type: ignore[type-arg]
    for wait_s in (*RETRIES_S, None):
        try:
            return await questions.rows(name, parameters)
        except StoreError as exc:
            if wait_s is None:
                raise HistoryError(str(exc)) from exc
            await asyncio.sleep(wait_s)
    raise AssertionError("the last round returns or raises")
