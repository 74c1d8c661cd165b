"""Read the vendor's instrument master from the file into rows for the database. Pure.

Decides which rows are valid: an odd row is skipped, the others are kept. The master is read piece by piece, so memory
never holds all of it: 77,709 rows are 38 MB of JSON, and several times that as Python objects.

Source: UPSTOX V3 instruments, one JSON array of objects, gzip. `tick_size` is in paise and `expiry` is 23:59:59 IST
of the expiry day in epoch milliseconds; here they become rupees and a date.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import chain
from typing import Annotated, BinaryIO, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ingest.errors import FeedError, lower_first
from ingest.market.time import market_day, utc_of_ms
from ingest.model.keys import is_key

GZIP = b"\x1f\x8b"
GZIP_WBITS = zlib.MAX_WBITS | 16  # zlib's value for gzip
PIECE_BYTES = 2**16
UNPACKED_BYTES_MAX = 256 * 2**20  # the settings' default: that of one exchange is 38 MB
ROW_CHARS_MAX = 2**16  # a row has 600 characters; brackets do not find the end of a row longer than this
NAMED_MAX = 5  # odd rows listed with their reason; all are counted
ODD_SHARE_MAX = 0.5  # a list with more odd rows is not the vendor's list: keep the previous one
REFUSED_EARLY_ROWS = 10_000  # by then the result is clear: the rest of such a list is not read
PAISE = 100
LAST_MS = 7_258_118_400_000  # the year 2200; expiries are earlier
SHOWN_CHARS_MAX = 60  # of an odd value
SPACE = " \t\r\n"
_SPACE = re.compile(f"[{SPACE}]*+")
# What determines the end of a value: whole texts (the last one may be unfinished), brackets, commas.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_NEXT = re.compile(f",[{SPACE}]*+(?=\\{{)")  # between two rows
_DECODER = json.JSONDecoder()
_NO_JSON = object()


class MasterRow(NamedTuple):
    """One instrument of the master; quantities in units, prices in rupees."""

    instrument_key: str
    segment: str
    name: str | None
    trading_symbol: str | None
    underlying_key: str | None
    instrument_type: str | None
    expiry: date | None
    strike: float | None
    lot_size: int | None
    tick_size: float | None


@dataclass(slots=True)
class OddRows:
    """Rows that were left out.

    Attributes
    ----------
    count
        How many.
    named
        The first few, each with its fault.
    keys
        The readable keys: such an instrument is in the master, whatever the rest of its row says.
    """

    count: int = 0
    named: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def note(self, number: int, row: object, reason: str) -> None:
        """Count a row, by its number in the master, from 1."""
        self.count += 1
        key = row.get("instrument_key") if isinstance(row, dict) else None
        named = f"row {number:,}"
        if isinstance(key, str) and is_key(key):
            self.keys.append(key)
            named = key
        if len(self.named) < NAMED_MAX:
            self.named.append(f"{named}: {reason}")

    def __str__(self) -> str:
        """Return how many rows were left out, with the first few; "" if there are none."""
        more = "; …" if self.count > len(self.named) else ""
        return f"{self.count:,} odd rows left out: {'; '.join(self.named)}{more}" if self.count else ""


def _checked(key: str) -> str:
    """Return the key; raise `ValueError` if the text cannot be one."""
    if not is_key(key):
        raise ValueError("no instrument key")
    return key


# An empty text or a zero means "not given" and is not odd. PostgreSQL text has no NUL, and terminals must get no
# escape sequences. Numbers may be written as 75 or 75.0.
_Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=200)] | None
_Code = Annotated[str, Field(pattern="^[A-Z0-9_ .&/-]*$", max_length=20)] | None
_Key = Annotated[str, AfterValidator(_checked)]
_MaybeKey = Annotated[str, AfterValidator(lambda key: _checked(key) if key else key)] | None
_Amount = Annotated[float, Field(ge=0, lt=1e9)] | None  # paise or rupees
_Epoch = Annotated[float, Field(ge=0, lt=LAST_MS, multiple_of=1)] | None
_Lot = Annotated[float, Field(ge=0, lt=2**31, multiple_of=1)] | None  # an int4


class _VendorRow(BaseModel):
    """A row as the vendor writes it; other fields are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    instrument_key: _Key
    segment: _Code = None
    name: _Text = None
    trading_symbol: _Text = None
    underlying_key: _MaybeKey = None
    asset_key: _MaybeKey = None
    instrument_type: _Code = None
    expiry: _Epoch = None
    strike_price: _Amount = None
    lot_size: _Lot = None
    tick_size: _Amount = None

    def row(self) -> MasterRow:
        """Return the row in our units."""
        return MasterRow(
            self.instrument_key,
            self.segment or self.instrument_key.partition("|")[0],
            self.name or None,
            self.trading_symbol or None,
            self.underlying_key or self.asset_key or None,
            self.instrument_type or None,
            market_day(utc_of_ms(self.expiry)) if self.expiry else None,
            self.strike_price or None,
            int(self.lot_size) if self.lot_size else None,
            self.tick_size / PAISE if self.tick_size else None,
        )


def read_master(
    file: BinaryIO, odd: OddRows | None = None, *, unpacked_bytes_max: int = UNPACKED_BYTES_MAX
) -> Iterator[MasterRow]:
    """Yield the instruments of a master file, each identity once, in the order of the file.

    Parameters
    ----------
    file
        Gzip or plain JSON, from its beginning.
    odd
        Collects the rows that are left out.
    unpacked_bytes_max
        Size limit of the master, bytes of JSON.

    Raises
    ------
    FeedError
        If the file is no such list, is damaged or too large, has no rows, or has mostly odd ones. Do not use the rows
        yielded before then.
    """
    odd = odd if odd is not None else OddRows()
    seen: set[tuple[str, date | None]] = set()
    number = 0
    for number, value in enumerate(_values(_texts(_pieces(file, unpacked_bytes_max))), 1):
        if value is _NO_JSON:
            odd.note(number, value, "not JSON")
            continue
        try:
            row = _VendorRow.model_validate(value).row()
        except ValidationError as exc:
            odd.note(number, value, _reason(exc))
        else:
            if (row.instrument_key, row.expiry) in seen:
                odd.note(number, value, "listed before: the first one counts")
                continue
            seen.add((row.instrument_key, row.expiry))
            yield row
        if number == REFUSED_EARLY_ROWS:
            _refuse_odd(odd, number)
    _refuse_odd(odd, number)


def _refuse_odd(odd: OddRows, rows: int) -> None:
    if odd.count > rows * ODD_SHARE_MAX or not rows:
        raise FeedError(
            f"instrument master is not used: of {rows:,} rows {rows - odd.count:,} make sense: fetch it again"
            + (f" ({odd})" if odd.count else "")
        )


def _reason(error: ValidationError) -> str:
    """Return what is wrong with a row: its first odd field."""
    first = error.errors(include_url=False, include_context=False)[0]
    said = lower_first(first["msg"])
    value = ascii(first["input"])  # terminals must get no escapes and no lone surrogates
    shown = value if len(value) <= SHOWN_CHARS_MAX else value[:SHOWN_CHARS_MAX] + "…"
    return f"{first['loc'][0]} {shown}: {said}" if first["loc"] else f"{shown}: no object"


def _pieces(file: BinaryIO, bytes_max: int) -> Iterator[bytes]:
    """Yield the JSON of a file in pieces."""
    packed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    size = 0
    try:
        for piece in _unpacked(file) if packed else iter(lambda: file.read(PIECE_BYTES), b""):
            size += len(piece)
            if size > bytes_max:
                raise FeedError(
                    f"instrument master is larger than {bytes_max} bytes: if it is the vendor's, "
                    "set TICKLINE_MASTER_UNPACKED_BYTES_MAX"
                )
            yield piece
    except (OSError, zlib.error) as exc:
        raise damaged(str(exc)) from exc


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file with any number of members; trailing bytes that begin no member are ignored."""
    member, packed = zlib.decompressobj(GZIP_WBITS), b""
    while True:
        packed = packed or file.read(PIECE_BYTES)
        piece = member.decompress(packed, PIECE_BYTES)  # without input: the output it still holds
        yield piece
        if member.eof:
            packed = member.unused_data + file.read(len(GZIP))
            if not packed.startswith(GZIP):
                return
            member = zlib.decompressobj(GZIP_WBITS)
        elif packed or piece:
            packed = member.unconsumed_tail
        else:
            raise damaged("it ends too early")


def _texts(pieces: Iterable[bytes]) -> Iterator[str]:
    """Decode pieces; an invalid UTF-8 byte spoils only its text, and with it one row."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    for piece in pieces:
        yield decoder.decode(piece)


def _values(pieces: Iterable[str]) -> Iterator[object]:
    """Yield the values of a JSON array, `_NO_JSON` for an invalid one.

    If the end of a row cannot be found, as after an extra quote, reading continues at the next text that parses as
    a row; also after a bracket that ended the array too early.
    """
    text, opened, lost, ended = "", False, False, False
    for piece in chain(pieces, [None]):
        text += piece or ""
        if not opened:
            if not (text := text.lstrip(SPACE)):
                continue
            if text[0] != "[":
                raise damaged("it is no JSON array")
            text, opened = text[1:], True
        while True:
            if lost or ended:
                if (found := _next_row(text)) is None:
                    text = text[-ROW_CHARS_MAX:]
                    break
                yield _NO_JSON
                text = text[found:]
            at, ended = yield from _whole(text)
            text = text[at:]
            lost = not ended and (piece is None or len(text) > ROW_CHARS_MAX)
            if not (lost or ended):
                break
    if not ended:
        if not text.rstrip(SPACE).endswith("]"):
            raise damaged("it ends too early")
        yield _NO_JSON  # the last row has swallowed the end of the array


def _whole(text: str) -> Generator[object, None, tuple[int, bool]]:
    """Yield the complete values of a text; return where the rest begins, and whether the array has ended."""
    at = 0
    while taken := _take(text, at):
        value, end = taken
        ended = text[end] == "]"
        if not ended or text[at:end].strip(SPACE):
            yield value
        at = end + 1
        if ended:
            return at, True
    return at, False


def _next_row(text: str) -> int | None:
    """Return where the next text that parses as a row begins; None: not in this text."""
    for found in _NEXT.finditer(text):
        try:
            value, _ = _DECODER.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "instrument_key" in value:
            return found.end()
    return None


def _take(text: str, at: int) -> tuple[object, int] | None:
    """Return the value that begins at an offset, and where the comma or bracket after it is; None: more is needed."""
    try:
        value, end = _DECODER.raw_decode(text, _skip(text, at))
        end = _skip(text, end)
        if text[end : end + 1] in {",", "]"}:
            return value, end
    except (ValueError, RecursionError):
        pass
    found = _end_of(text, at)
    return None if found is None else (_NO_JSON, found)


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _end_of(text: str, at: int) -> int | None:
    """Return the offset of the comma or bracket after a value, using only brackets; None: not in this text."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        mark = token[0][0]
        if depth == 0 and mark in ",]}":
            return token.start()
        depth += (mark in "[{") - (mark in "]}")
    return None


def damaged(why: str) -> FeedError:
    """Return the error for a file that is not a master."""
    return FeedError(f"instrument master is damaged: {why}: fetch it again")
