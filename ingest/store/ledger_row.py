"""Ledger row: which committed neighbours share a row of the ledger. Pure.

A live stream commits hundreds of times a second. With a row for each commit the ledger would take more room than the
ticks, so a batch that continues the stream's newest row extends it, in the transaction that copies the batch's ticks.
Merging later would leave a page of each index for every merged row (measured: 7.6 bytes a tick instead of 0.2),
because an index keeps a page as long as one of its entries lives.

Nothing that `verify` proves is lost: the digest of a batch is the CRC-32C of all payloads of its stream up to its end,
so the digest of the last batch is that of the row, and can be checked without the borders between the batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ingest.market.time import day_number
from ingest.store.batch import Batch

# The part of a segment that a row covers: `verify` names a part this large when its bytes differ, and reads it at once.
ROW_BYTES_MAX = 2**20
# Each extension leaves an old version of the row. They cost nothing once no transaction sees them, but a query of an
# hour keeps those of an hour, and each extension looks through the row's own.
ROW_BATCHES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """The newest row of a stream, as the writer knows it after a commit."""

    segment: str
    offset_start: int
    offset_end: int
    last_seq: int
    days: tuple[int, ...]  # market days of its ticks, as numbers; () without ticks
    batches: int = 1

    def takes(self, batch: Batch) -> bool:
        """Tell whether a batch may extend this row.

        It continues the row's bytes and its record numbers, because `verify` looks for lost records between rows. All
        ticks are of one market day, because a day is found by the first and the last tick of a row.
        """
        return (
            batch.segment == self.segment
            and batch.offset_start == self.offset_end
            and batch.first_seq == self.last_seq + 1
            and batch.offset_end - self.offset_start <= ROW_BYTES_MAX
            and self.batches < ROW_BATCHES_MAX
            and len({*self.days, *_days(batch)}) <= 1
        )

    def extended(self, batch: Batch) -> LedgerRow:
        """Return this row with a batch that it takes."""
        return replace(
            self,
            offset_end=batch.offset_end,
            last_seq=batch.last_seq,
            days=self.days or _days(batch),
            batches=self.batches + 1,
        )

    @classmethod
    def of(cls, batch: Batch) -> LedgerRow:
        """Return the row of a batch that extends none."""
        return cls(batch.segment, batch.offset_start, batch.offset_end, batch.last_seq, _days(batch))


def _days(batch: Batch) -> tuple[int, ...]:
    """Return the market days of the first and the last tick of a batch."""
    return tuple(dict.fromkeys(day_number(int(at) // 1000) for at in batch.rows.span_us() or ()))
