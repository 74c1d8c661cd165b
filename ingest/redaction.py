"""Redaction: what keeps secret values out of everything that is printed. The second fence.

The first is that no error is raised with such a value in its text. This one knows the values that the settings
hold, and the forms in which a secret is written: a password in a URL, a one-time code, an authorisation header.
Whatever is printed passes through it (logs, errors, tracebacks, reports), and so does what a status says of errors.
Rows that a reader asked for are data, and pass as they are.
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
KNOWN_MAX = 256  # values, the oldest go first: a token each morning is one

_VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s&,;)\]}]+)"""
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host, up to the last @: a password that is not percent-encoded may hold one.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/@:'\"]*):[^\s'\"]*@", re.I), rf"\1:{HIDDEN}@"),
    # ?code=…&requestId=… of a feed URI and of the login.
    (re.compile(r"([?&](?:code|requestId|state|client_id)=)[^&\s'\"#]+", re.I), rf"\1{HIDDEN}"),
    # password=…, client_secret=…, UPSTOX_ACCESS_TOKEN=…
    (re.compile(rf"([\w-]*(?:password|passwd|secret|token|api_?key)\s*=\s*){_VALUE}", re.I), rf"\1{HIDDEN}"),
    # {"access_token": "…"}
    (re.compile(rf"([\"'][\w-]*(?:password|secret|token|api_?key)[\"']\s*:\s*){_VALUE}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,2}"), HIDDEN),  # a JSON Web Token, which the vendor's tokens are
)
_PASSWORDS = re.compile(
    r"""://[^\s/@:]*:(?P<in_url>.+)@|\b(?:ssl)?password\s*=\s*(?P<word>'(?:[^'\\]|\\.)*'|[^\s&]+)""", re.I
)
_known: dict[str, None] = {}  # each spelling of each value
_known_form: re.Pattern[str] | None = None


def hide(*values: str) -> None:
    """Keep values out of everything that is printed from now on, in the spellings that texts have."""
    global _known_form  # noqa: PLW0603  one fence for the process, as stderr is one
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
    """Keep a secret out of everything that is printed; of a database URL the passwords, too, in each of libpq's forms.

    A password that is a name as well, of the user or the database, would hide that word everywhere.
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
    """A text stream that writes what it is given without secrets; otherwise the stream that it stands for.

    It has no `buffer`: what goes there is not looked at, and libraries go there by themselves.
    """

    def __init__(self, stream: TextIO) -> None:
        self.unfenced = stream

    def write(self, text: str) -> int:
        """Write a text, which should be whole lines: a secret that is cut in two is not seen."""
        self.unfenced.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.unfenced, name)


def fence_output() -> None:
    """Let nothing be printed from now on, but on purpose, that is a secret."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # closed by who called
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="replace")  # a terminal of ASCII shows the rest of the line
            setattr(sys, name, FencedStream(stream))


def unfenced_stdout() -> TextIO:
    """Return where goes what its reader must have as it is: rows, and the few secrets printed on purpose."""
    return getattr(sys.stdout, "unfenced", sys.stdout)
