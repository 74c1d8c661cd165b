"""Which committed neighbours share a row of the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ingest.market.time import DAY_US
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.store.batch import Batch
from ingest.store.ledger_row import ROW_BATCHES_MAX, ROW_BYTES_MAX, LedgerRow
from ingest.store.row_buffer import RowBuffer

OPEN_US = 1_765_770_300e6  # 15 December 2025, 09:15 in India
ROW = LedgerRow("one", 1_000, 2_000, last_seq=20, days=(20437,), batches=3)


def batch(*times_us: float, **given: Any) -> Batch:
    """A batch that continues `ROW`, with ticks at these times."""
    buffer = RowBuffer(10)
    values = np.full((len(times_us), len(TICK_COLUMN_NAMES)), np.nan)
    values[:, 0] = times_us
    buffer.extend(values)
    whole: dict[str, Any] = {"segment": "one", "offset_start": 2_000, "offset_end": 2_500, "first_seq": 21}
    return Batch(rows=buffer, last_seq=25, **(whole | given))


@pytest.mark.parametrize(
    ("following", "taken"),
    [
        (batch(OPEN_US), True),
        (batch(), True),  # no tick is of no day
        (batch(OPEN_US, segment="two"), False),
        (batch(OPEN_US, offset_start=2_001), False),
        (batch(OPEN_US, offset_start=1_999), False),
        (batch(OPEN_US, first_seq=22), False),  # a hole, which `verify` must see
        (batch(OPEN_US, first_seq=20), False),
        (batch(OPEN_US, offset_end=1_000 + ROW_BYTES_MAX), True),
        (batch(OPEN_US, offset_end=1_001 + ROW_BYTES_MAX), False),
        (batch(OPEN_US + DAY_US), False),
        (batch(OPEN_US - DAY_US, OPEN_US), False),
        (batch(OPEN_US - 9 * 3600e6 - 15 * 60e6), True),  # midnight in India
        (batch(OPEN_US - 9 * 3600e6 - 15 * 60e6 - 1e3), False),
    ],
)
def test_row_takes_what_continues_it(following: Batch, taken: bool) -> None:
    assert ROW.takes(following) is taken


def test_row_without_ticks_takes_one_day() -> None:
    empty = LedgerRow("one", 1_000, 2_000, last_seq=20, days=())
    assert empty.takes(batch(OPEN_US))
    assert not empty.takes(batch(OPEN_US - DAY_US, OPEN_US))
    assert empty.extended(batch(OPEN_US)) == LedgerRow("one", 1_000, 2_500, 25, (20437,), 2)
    assert empty.extended(batch()).days == ()


def test_row_of_two_days_takes_nothing_with_ticks() -> None:
    mixed = LedgerRow.of(batch(OPEN_US - DAY_US, OPEN_US))
    assert set(mixed.days) == {20436, 20437}
    after = {"offset_start": 2_500, "offset_end": 2_600, "first_seq": 26}
    assert not mixed.takes(batch(OPEN_US, **after))


def test_row_ends_after_so_many_batches() -> None:
    row = LedgerRow.of(batch(OPEN_US, offset_start=0, offset_end=1, first_seq=1))
    taken = 1
    while row.takes(
        following := batch(OPEN_US, offset_start=row.offset_end, offset_end=row.offset_end + 1, first_seq=26)
    ):
        row, taken = row.extended(following), taken + 1
    assert taken == row.batches == ROW_BATCHES_MAX
