"""Instrument keys: what one looks like. Pure.

A key is `segment|name`, as `NSE_FO|53001`, `NSE_EQ|INE009A01021` or `NSE_INDEX|Nifty Next 50`. The vendor's list
of 23 Dec 2025 has 77,709 of them: the longest has 27 characters, and beside letters and digits there are blanks
and `-`. Keys come from outside (frames, lists, requests, command lines), and some cannot be stored at all:
PostgreSQL's text has no NUL, and what is longer than a third of a page fits into no index. Whoever takes a key
from outside asks here first.
"""

from __future__ import annotations

import re

NAME_CHARS_MAX = 64  # of the part behind the bar; twice what the longest real key has in all
SEGMENT_CHARS_MAX = 20
KEY_CHARS_MAX = SEGMENT_CHARS_MAX + 1 + NAME_CHARS_MAX
SHOWN_CHARS_MAX = 80  # of a text that is no key, in a message or in the database

_SEGMENT = re.compile(rf"[A-Z_]{{2,{SEGMENT_CHARS_MAX}}}")
# Printable ASCII, without a second bar.
_KEY = re.compile(rf"{_SEGMENT.pattern}\|[ -{{}}~]{{1,{NAME_CHARS_MAX}}}")


def is_key(text: str) -> bool:
    """Tell whether a text can be an instrument key; whether it is one, only the vendor's list says.

    Examples
    --------
    >>> is_key("NSE_INDEX|Nifty 50"), is_key("INFY"), is_key("NSE_FO|53001" + chr(0))
    (True, False, False)
    """
    return _KEY.fullmatch(text) is not None


def is_segment(text: str) -> bool:
    """Tell whether a text can be the name of a segment, the first part of a key.

    Examples
    --------
    >>> is_segment("NSE_FO"), is_segment("NSE_FO" + chr(0))
    (True, False)
    """
    return _SEGMENT.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return a text that may be anything as it can be printed and stored: escaped, and not longer than it need be."""
    part = text[:SHOWN_CHARS_MAX].encode("unicode_escape").decode()[:SHOWN_CHARS_MAX]
    return part if part == text else f"{part}… ({len(text)} characters)"
