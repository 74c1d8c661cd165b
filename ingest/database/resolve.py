"""Resolve what a trader types to instruments.

Owns the spelling of names and the answer to unknown ones; SQL decides which instrument a spelling
means. Must not know the caller: the reader and the ingester use the same names.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.errors import UnknownNameError

# A contract's key may be reused as soon as it has expired. A tick and a master this far apart may be of different
# contracts, and the tick stays without a name; a shorter distance is a list that could not be fetched for a week.
KNOWN_WITHIN_DAYS = 10


NEAR_MAX = 5  # fits on one line
CANDIDATES_MAX = 500  # an underlying has some thousand options; comparing 500 names takes 5 ms
SIMILARITY_MIN = 0.5  # of difflib, 0 to 1: below it the suggestions look random
HOLDING_BONUS = 0.2  # an incomplete name is more likely than a mistyped one


@dataclass(frozen=True, slots=True)
class Instrument:
    """An instrument as in the master; None is unknown or not applicable.

    `instrument_id` is ours and never reused, `instrument_key` is the vendor's and is; `expiry` is
    the last day of trading (market-local), `strike` is in rupees, `lot_size` in units.
    """

    instrument_id: int
    instrument_key: str
    trading_symbol: str | None
    instrument_type: str | None
    segment: str | None
    expiry: date | None
    strike: float | None
    lot_size: int | None


def resolve(connection: psycopg.Connection[Any], names: Sequence[str], *, on: date) -> list[Instrument]:
    """Return the instruments that names mean on a day, in the order of the names.

    A name is an instrument key ("NSE_FO|53001"), a trading symbol ("INFY", "BANKNIFTY",
    "BANKNIFTY 59400 CE 30 DEC 25"), the full name of an instrument without expiry ("Nifty Bank"), or an
    underlying with FUT, or with strike and CE or PE ("NIFTY FUT", "NIFTY 26000 CE": its living contract nearest
    to expiry). Case and spacing do not matter.

    Parameters
    ----------
    connection
        To a database with our schema.
    names
        As typed; a name given twice is answered twice.
    on
        The market-local day. Keys are reused after expiry, and a split gives a share a new key: of several
        instruments, the one that is alive and listed on that day is chosen.

    Raises
    ------
    UnknownNameError
        If no instrument has one of the names, with the nearest names; or if several have it and nothing
        distinguishes them.
    StoreError
        If the database refuses.
    """
    found, wrong = look_up(connection, names, on=on)
    if wrong:
        raise UnknownNameError(next(iter(wrong.values())))
    return [found[name] for name in names]


def look_up(
    connection: psycopg.Connection[Any], names: Sequence[str], *, on: date
) -> tuple[dict[str, Instrument], dict[str, str]]:
    """Return the instruments that names mean on a day, and the fault of each other name; see `resolve`.

    Raises
    ------
    StoreError
        If the database refuses.
    """
    exact = {name: name.strip() for name in names}
    with translated():
        # Programs pass keys, which an index finds; only other names need the list of all names.
        found = _find(connection, "names/resolve_keys", {"instrument_keys": list(exact.values()), "on": on})
        spellings = [spelling(name) for name in exact.values() if name not in found]
        if spellings:
            found |= _find(connection, "names/resolve_names", {"spellings": spellings, "on": on})
        meant = {name: found.get(key) or found.get(spelling(key)) or [] for name, key in exact.items()}
        unknown = {name: _unknown_text(connection, exact[name], on) for name, those in meant.items() if not those}
    several = {name: _several_text(exact[name], those) for name, those in meant.items() if len(those) > 1}
    wrong = {name: (unknown | several)[name] for name in exact if name in unknown or name in several}
    return {name: those[0] for name, those in meant.items() if name not in wrong}, wrong


def spelling(name: str) -> str:
    """Return a name in upper case without white space, as the queries compare it."""
    return "".join(name.split()).upper()


def _find(connection: psycopg.Connection[Any], name: str, parameters: dict[str, Any]) -> dict[str, list[Instrument]]:
    """Run a query of `sql/queries/` that yields spellings and instruments."""
    found: dict[str, list[Instrument]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query(name), parameters):
            found.setdefault(row.pop("spelling"), []).append(Instrument(**row))
    return found


def _several_text(name: str, those: Sequence[Instrument]) -> str:
    """Return the error text for a name that means several instruments."""
    keys = ", ".join(f"{one.instrument_key!r} ({one.instrument_type})" for one in those[:NEAR_MAX])
    return f"name {name!r} means {len(those)} instruments: give one of their keys: {keys}"


def _unknown_text(connection: psycopg.Connection[Any], name: str, on: date) -> str:
    """Return the error text for an unknown name, with suggestions."""
    unknown = f"unknown instrument {name!r} on {on}"
    if not connection.execute("select 1 from instruments limit 1").fetchone():  # nothing to suggest
        return f"{unknown}: no instruments are loaded: run `tickline start` or `tickline replay` first"
    if near := _near(connection, name, on):
        return f"{unknown}: near matches are {', '.join(map(repr, near))}"
    return f"{unknown}: give an instrument key, as 'NSE_FO|53001', or a trading symbol, as 'INFY'"


def _near(connection: psycopg.Connection[Any], name: str, on: date) -> list[str]:
    """Return the most similar names, best first; equally good ones by nearest expiry."""
    wanted = spelling(name)
    parameters = {"spelling": wanted, "on": on, "candidates_max": CANDIDATES_MAX}
    matcher = difflib.SequenceMatcher(b=wanted, autojunk=False)
    scores: dict[str, float] = {}
    for (known,) in connection.execute(query("names/near_instruments"), parameters):
        matcher.set_seq1(spelling(known))
        scores[known] = matcher.ratio() + (HOLDING_BONUS if wanted in spelling(known) else 0.0)
    likely = [known for known, score in scores.items() if score >= SIMILARITY_MIN]
    return sorted(likely, key=scores.__getitem__, reverse=True)[:NEAR_MAX]
