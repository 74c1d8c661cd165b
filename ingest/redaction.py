"""Redaction: keep secret values out of everything that is printed. The second line of defence.

The first is that no error is raised with a secret in its text. This module knows the secrets in the settings and the
forms in which secrets appear: a password in a URL, a one-time code, an authorisation header. All output passes
through it (logs, errors, tracebacks, reports), and so do the errors in the status. Data rows are not filtered.
"""

from __future__ import annotations

import json
import re
import sys
from io import TextIOWrapper
from typing import Any, TextIO
from urllib.parse import quote, unquote

HIDDEN = "***"
KNOWN_CHARS_MIN = 6  # a shorter value would hide ordinary words; the forms below still find it
KNOWN_MAX = 256  # spellings; the oldest is dropped first; each morning's token adds some

_VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s&,;)\]}]+)"""
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host, up to the last @: a password that is not percent-encoded may contain one.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/@:'\"]*):[^\s'\"]*@", re.I), rf"\1:{HIDDEN}@"),
    # ?code=…&requestId=… in a feed URI or a login address.
    (re.compile(r"([?&](?:code|requestId|state|client_id)=)[^&\s'\"#]+", re.I), rf"\1{HIDDEN}"),
    # password=…, client_secret=…, UPSTOX_ACCESS_TOKEN=…
    (re.compile(rf"([\w-]*(?:password|passwd|secret|token|api_?key)\s*=\s*){_VALUE}", re.I), rf"\1{HIDDEN}"),
    # {"access_token": "…"}
    (re.compile(rf"([\"'][\w-]*(?:password|secret|token|api_?key)[\"']\s*:\s*){_VALUE}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,2}"), HIDDEN),  # a JSON Web Token, such as the vendor's tokens
)
_PASSWORDS = re.compile(
    r"""://[^\s/@:]*:(?P<in_url>.+)@|\b(?:ssl)?password\s*=\s*(?P<word>'(?:[^'\\]|\\.)*'|[^\s&]+)""", re.I
)
_known: dict[str, None] = {}  # each spelling of each value
_known_form: re.Pattern[str] | None = None


def hide(*values: str) -> None:
    """Hide values in all output from now on, also URL-encoded, as repr and as JSON."""
    global _known_form  # noqa: PLW0603  one filter per process, as there is one stderr
    for value in values:
        if len(value) >= KNOWN_CHARS_MIN:
            for spelling in (value, quote(value, safe=""), repr(value)[1:-1], json.dumps(value)[1:-1]):
                _known.pop(spelling, None)
                _known[spelling] = None
    while len(_known) > KNOWN_MAX:
        del _known[next(iter(_known))]
    longest_first = sorted(_known, key=len, reverse=True)
    _known_form = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def hide_all(secret: str) -> None:
    """Hide a secret in all output; for a database URL also its passwords, in each of libpq's forms.

    Does not hide a password that also occurs elsewhere in the URL, such as the user's name: every use of that word
    would disappear.
    """
    found = [match["in_url"] or match["word"].strip("'") for match in _PASSWORDS.finditer(secret)]
    hide(secret, *(spelling for one in found if secret.count(one) == 1 for spelling in (one, unquote(one))))


def redact(text: str) -> str:
    """Return a text without secrets.

    Examples
    --------
    >>> redact("cannot connect to postgresql://me:hunter2@db/ticks")
    'cannot connect to postgresql://me:***@db/ticks'
    >>> redact("wss://feed.example/x?requestId=1&code=2 is no URI")
    'wss://feed.example/x?requestId=***&code=*** is no URI'
    """
    if _known_form is not None:
        text = _known_form.sub(HIDDEN, text)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return text


class FencedStream:
    """A text stream that removes secrets from everything written; otherwise like the stream it wraps.

    It has no `buffer`: bytes written there would bypass the filter, and libraries use it if it exists.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unfenced = stream

    def write(self, text: str) -> int:
        """Write whole lines without their secrets; a secret split over two calls is not found."""
        self.unfenced.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write texts without their secrets."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.unfenced, name)


def fence_output() -> None:
    """Replace stdout and stderr by filters that remove secrets."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # the caller may have closed it
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="replace")  # an ASCII terminal then still shows the rest of the line
            setattr(sys, name, FencedStream(stream))


def unfenced_stdout() -> TextIO:
    """Return the unfiltered stdout, for data rows and the few secrets printed on purpose."""
    return getattr(sys.stdout, "unfenced", sys.stdout)
