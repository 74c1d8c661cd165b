"""Instrument keys: their valid form. Pure.

A key is `segment|name`, for example `NSE_FO|53001`, `NSE_EQ|INE009A01021` or `NSE_INDEX|Nifty Next 50`. The vendor's
list of 23 Dec 2025 has 77,709 keys: the longest has 27 characters; besides letters and digits they contain spaces
and `-`. Keys come from outside (frames, lists, requests, command lines), and some texts cannot be stored at all:
PostgreSQL text has no NUL, and a text longer than a third of a page fits into no index. Code that takes a key from
outside checks it here first.
"""

from __future__ import annotations

import re

NAME_CHARS_MAX = 64  # of the part after the bar; twice the total length of the longest real key
SEGMENT_CHARS_MAX = 20
KEY_CHARS_MAX = SEGMENT_CHARS_MAX + 1 + NAME_CHARS_MAX
SHOWN_CHARS_MAX = 80  # of a text that is not a key, in a message or in the database

_SEGMENT = re.compile(rf"[A-Z_]{{2,{SEGMENT_CHARS_MAX}}}")
# Printable ASCII without a second bar.
_NAME = re.compile(rf"[ -{{}}~]{{1,{NAME_CHARS_MAX}}}")  # printable ASCII without a bar
_KEY = re.compile(rf"{_SEGMENT.pattern}\|[ -{{}}~]{{1,{NAME_CHARS_MAX}}}")


def is_key(text: str) -> bool:
    """Return whether a text has the form of an instrument key; only the vendor's list says whether the key exists.

    Examples
    --------
    >>> is_key("NSE_INDEX|Nifty 50"), is_key("INFY"), is_key("NSE_FO|53001" + chr(0))
    (True, False, False)
    """
    return _KEY.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of an instrument, as a trader types it.

    Examples
    --------
    >>> is_name("NIFTY FUT"), is_name("NSE_FO|53001"), is_name(" ")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None and not text.isspace()


def is_segment(text: str) -> bool:
    """Return whether a text has the form of a segment name, the first part of a key.

    Examples
    --------
    >>> is_segment("NSE_FO"), is_segment("NSE_FO" + chr(0))
    (True, False)
    """
    return _SEGMENT.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return any text in a form that can be printed and stored: escaped and cut to a limited length."""
    part = text[:SHOWN_CHARS_MAX].encode("unicode_escape").decode()[:SHOWN_CHARS_MAX]
    return part if part == text else f"{part}… ({len(text)} characters)"
