"""Naming: which instrument each key means, as the days of a stream pass.

A key is reused after expiry, a list that comes in the morning names what was unknown in the night, and one that is
wrong today may be withdrawn tomorrow. So what a key means is asked of the database for the day of its update: when
the key is met for the first time, with its first update of each later day, and again when a list was loaded or the
ingester starts. The day is that of the records in their order: a replay asks the same.

Keys that no list has become instruments too, up to a number for each day. What is beyond it is held back: its
updates are rejected, with their reason, and it has no state.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import date, timedelta

from ingest.normalise.instrument_states import InstrumentStates
from ingest.pipeline.decoded_records import DecodedRecords
from ingest.store.retrying_writer import RetryingWriter

log = logging.getLogger(__name__)

EPOCH = date(1970, 1, 1)
HELD_KEYS_MAX = 100_000  # 10 MB; that are remembered, so that the database is not asked for each of their updates


class Naming:
    """What the keys of a stream mean.

    Parameters
    ----------
    writer
        Who asks the database.
    unknown_keys_max
        So many keys that no list has become instruments on one day.
    day
        IST day number that the stream has come to; -1: it begins.
    resumed
        Whether states come from a checkpoint. What keys meant then they meant in the records committed since: a
        change is stored with the rows behind it. The database may say otherwise by now.
    """

    def __init__(self, writer: RetryingWriter, *, unknown_keys_max: int, day: int = -1, resumed: bool = False) -> None:
        self.day = day
        self.held: set[str] = set()  # keys that are held back today
        self.met: dict[int, str | None] = {}  # instruments that keys have meant since the start -> trading symbol
        self.answers = 0  # of the database so far: what `met` says is the same while they are
        self._writer = writer
        self._unknown_keys_max = unknown_keys_max
        self._again = True  # a list may have been loaded since
        self._resumed = resumed
        self._said = -1  # the day of which it was said that keys are held back

    def ask_again(self) -> None:
        """Have the database say again what each key means, from the next record on: there is a new list."""
        self._again = True

    def is_due(self, read: DecodedRecords) -> bool:
        """Whether the database may have to be asked before the next record is taken."""
        return read.at >= read.named or (self._again and read.at >= read.committed)

    def unnamed(self, read: DecodedRecords, states: InstrumentStates) -> list[str]:
        """Move on over the next records of one day; return the keys to ask for, in order of their first update."""
        committed = read.at < read.committed
        if self._again and not committed:
            states.forget_names()
            self.held.clear()
            self._again = False
        read.named, day = read.of_one_day()
        # One of yesterday may come behind midnight; a stream that plays an older day begins it.
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
        """Ask the database what keys mean; return whether one was not known, or means another instrument now.

        Parameters
        ----------
        keys
            From `unnamed`.
        states
            Learns the answer.
        committed
            Whether they are of records that are committed already: what has no instrument then was held back.
        """
        day, unknown_max = EPOCH + timedelta(days=self.day), 0 if committed else self._unknown_keys_max
        refs = await asyncio.to_thread(self._writer.register, keys, day, unknown_max)
        version = states.version
        states.learn(refs, self.day)
        self.met |= {ref.instrument_id: ref.trading_symbol for ref in refs}
        self.answers += 1
        held = [key for key in keys if states.place(key) is None]
        self.held.update(held)
        if held and not committed and self._said != self.day:
            self._said = self.day
            log.warning(
                "keys held back, more than %d that no list has were new on %s first=%s: load the list that has them, "
                "`tickline universe refresh`, or raise TICKLINE_UNKNOWN_KEYS_PER_DAY_MAX",
                self._unknown_keys_max,
                day,
                held[0],
            )
        return states.version != version
