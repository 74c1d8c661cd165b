"""Rows of the watch list, with the version that changed each last, so that a browser gets only changes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

Row = dict[str, Any]
RANKS = {"INDEX": 0, "EQ": 1, "FUT": 2, "CE": 3, "PE": 3}  # order of kinds, then by name
EMPTY: Row = {
    "rank": 9,
    "segment": "",
    "price": None,
    "change": None,
    "volume": None,
    "spikes": None,
    "state": None,
    "spark": None,
}
SILENT = {"level": "warning", "words": "silent"}
FAILED = {"level": "bad", "words": "not answered"}


class WatchList:
    """The rows of all instruments, by instrument key.

    A row has `key`, `rank` (order of its kind), `name` (what a trader types), `segment`, `price` (rupees), `change`
    (percent of the previous close), `volume` (units today), `spikes` (of the session), `state` (level and words; None:
    nothing to say) and `spark` (closes of the last minutes).

    Attributes
    ----------
    version
        Raised with each change.
    generation
        Raised when rows were dropped: a browser then needs all rows again.
    ids
        instrument_id by key.
    """

    def __init__(self) -> None:
        self.version = self.generation = 0
        self.ids: dict[str, int] = {}
        self._rows: dict[str, Row] = {}
        self._changed: dict[str, int] = {}
        self._previous: dict[str, float | None] = {}
        self._recorded: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Row]:
        """Return all rows: indices, shares, futures, options, others; each by name."""
        return sorted(self._rows.values(), key=lambda row: (row["rank"], row["name"]))

    def changed_since(self, version: int) -> list[Row]:
        """Return the rows that changed after a version."""
        if version >= self.version:
            return []
        return [self._rows[key] for key, changed in self._changed.items() if changed > version]

    def row(self, key: str) -> Row | None:
        """Return the row of a key, if there is one."""
        return self._rows.get(key)

    def name_of(self, key: str) -> str:
        """Return what a trader types, or the key itself."""
        row = self._rows.get(key)
        return key if row is None else str(row["name"])

    def unnamed(self) -> list[str]:
        """Return the keys whose names are not known."""
        return [key for key, row in self._rows.items() if row["name"] == key]

    def listed(self, found: Sequence[tuple[Any, ...]]) -> None:
        """Take rows of `sql/queries/page/watched_instruments.sql`."""
        self.version += 1
        # Those of an earlier session that are not recorded any more, such as expired options.
        if gone := self._rows.keys() - self._recorded - {row[1] for row in found}:
            self.generation += 1
            all_known: list[MutableMapping[str, Any]] = [self._rows, self._changed, self._previous, self.ids]
            for known in all_known:
                for key in gone:
                    known.pop(key, None)
        for instrument_id, key, name, segment, kind, ltp, previous, vtt, _, _, _, spikes in found:
            self.ids[key] = instrument_id
            self._previous[key] = previous
            change = _percent(ltp, previous)
            rank = RANKS.get(kind, len(RANKS))
            self._put(
                key, rank=rank, name=name, segment=segment, price=ltp, change=change, volume=vtt, spikes=spikes or None
            )

    def named(self, names: Iterable[tuple[str, str]]) -> None:
        """Take names by key."""
        self.version += 1
        for key, name in names:
            self._put(key, name=name)

    def ticked(self, ticks: Mapping[str, Mapping[str, Any]]) -> None:
        """Take last ticks by key, as the API has them."""
        self.version += 1
        for key, tick in ticks.items():
            change = _percent(tick["price"], self._previous.get(key))
            self._put(key, price=tick["price"], volume=tick["volume"], change=change)

    def drawn(self, sparks: Mapping[str, list[float]]) -> None:
        """Take the closes of the last minutes by key."""
        self.version += 1
        for key, closes in sparks.items():
            self._put(key, spark=closes)

    def judged(self, keys: Iterable[str], silent: Collection[str], failed: Collection[str]) -> None:
        """Take which keys are recorded, and which of them are silent or not answered."""
        self.version += 1
        quiet, unanswered = set(silent), set(failed)
        self._recorded = frozenset((*keys, *quiet, *unanswered))
        for key in self._recorded | self._rows.keys():
            state = FAILED if key in unanswered else SILENT if key in quiet else None
            self._put(key, state=state)

    def _put(self, key: str, **fields: Any) -> None:
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = EMPTY | {"key": key, "name": key, "segment": key.partition("|")[0]}
        elif all(row[name] == value for name, value in fields.items()):
            return
        row.update(fields)
        self._changed[key] = self.version


def _percent(price: float | None, previous: float | None) -> float | None:
    """Return the change of a price, percent."""
    return None if price is None or not previous else round(100 * (price / previous - 1), 2) + 0.0  # not -0.0
