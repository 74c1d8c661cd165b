"""Naming: which instrument each key means on each day of a stream.

The meaning of a key changes: the vendor reuses keys after expiry, a list loaded in the morning names keys that were
unknown at night, and a wrong list may be withdrawn the next day. So the database is asked what a key means on the day
of its update: when the key first appears, at its first update of each later day, and again when a list was loaded or
the ingester starts. The day comes from the records in their order, so a replay asks the same questions.

Keys that are in no list become instruments too, up to a daily limit. Keys beyond the limit are held back: their
updates are rejected with the reason, and they have no state.
"""

from __future__ import annotations

import logging
from datetime import date, timedelta

from ingest.normalise.instrument_states import InstrumentStates
from ingest.pipeline.decoded_records import DecodedRecords
from ingest.store.retrying_writer import RetryingWriter

log = logging.getLogger(__name__)

EPOCH = date(1970, 1, 1)
HELD_KEYS_MAX = 100_000  # 10 MB; remembered so that not every update of such a key asks the database


class Naming:
    """The instruments that the keys of one stream mean.

    Parameters
    ----------
    writer
        Asks the database.
    unknown_keys_max
        How many keys that are in no list may become instruments on one day.
    day
        IST day number that the stream has reached; -1: the stream begins.
    resumed
        Whether the states come from a checkpoint. Records committed after the checkpoint used its meaning of keys,
        because each change is stored with the rows after it. The database may answer differently by now.
    """

    def __init__(self, writer: RetryingWriter, *, unknown_keys_max: int, day: int = -1, resumed: bool = False) -> None:
        self.day = day
        self.held: set[str] = set()  # keys held back today
        self.met: dict[int, str | None] = {}  # instruments met since the start -> trading symbol
        self.answers = 0  # answers of the database so far; while this is unchanged, `met` is too
        self._writer = writer
        self._unknown_keys_max = unknown_keys_max
        self._again = True  # a list may have been loaded since the last run
        self._resumed = resumed
        self._said = -1  # day of the last warning about held keys

    def ask_again(self) -> None:
        """Ask the database again what each key means, from the next record on; call it after a list was loaded."""
        self._again = True

    def is_due(self, read: DecodedRecords) -> bool:
        """Tell whether the database may have to be asked before the next record is taken."""
        return read.at >= read.named or (self._again and read.at >= read.committed)

    def unnamed(self, read: DecodedRecords, states: InstrumentStates) -> list[str]:
        """Advance over the next records of one day; return the keys to ask for, in order of their first update."""
        committed = read.at < read.committed
        if self._again and not committed:
            states.forget_names()
            self.held.clear()
            self._again = False
        read.named, day = read.of_one_day()
        # Yesterday's last records may come after midnight; an older day means that the stream replays that day.
        if day > self.day or 0 <= day < self.day - 1:
            self.day = day
            self.held.clear()
        if len(self.held) > HELD_KEYS_MAX:
            self.held.clear()
        ends = read.frames.ends
        keys = read.frames.updates.keys[int(ends[read.at]) : int(ends[read.named])]
        wanted = states.unnamed(set(keys) - self.held, self.day)
        if committed and self._resumed:
            wanted = {key for key in wanted if states.place(key) is None}
        return [key for key in dict.fromkeys(keys) if key in wanted] if wanted else []

    async def ask(self, keys: list[str], states: InstrumentStates, *, committed: bool) -> bool:
        """Ask the database what keys mean; return whether a key is new or now means another instrument.

        Parameters
        ----------
        keys
            Keys from `unnamed`.
        states
            Receives the answer.
        committed
            Whether the keys come from committed records: a key without an instrument was held back then.
        """
        day, unknown_max = EPOCH + timedelta(days=self.day), 0 if committed else self._unknown_keys_max
        refs = await self._writer.run(self._writer.register, keys, day, unknown_max)
        version = states.version
        states.learn(refs, self.day)
        self.met |= {ref.instrument_id: ref.trading_symbol for ref in refs}
        self.answers += 1
        held = [key for key in keys if states.place(key) is None]
        self.held.update(held)
        if held and not committed and self._said != self.day:
            self._said = self.day
            log.warning(
                "keys held back, more than %d keys that are in no list were new on %s first=%s: load the current list "
                "with `tickline universe refresh`, or raise TICKLINE_UNKNOWN_KEYS_PER_DAY_MAX",
                self._unknown_keys_max,
                day,
                held[0],
            )
        return states.version != version
