"""Access: the tokens of the HTTP API and of the journal, and the rules that keep web pages in a browser out.

Each token is created at the first start and kept in the home folder, readable by its owner only; commands on this
machine read it there. A web page has no token, but a browser lets it send requests to this machine, even under the
page's own host name. Their Host and Origin headers give them away.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ingest.addresses import is_loopback
from ingest.errors import ConfigError
from ingest.redaction import hide

log = logging.getLogger(__name__)

TOKEN_FILE = "api-token"  # noqa: S105  in the home folder
JOURNAL_TOKEN_FILE = "journal-token"  # noqa: S105  it reads the journal and says what is committed, nothing else
READER_TOKEN_FILE = "reader-token"  # noqa: S105  it reads the API and the journal, and changes nothing
READING = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_BYTES = 32  # random bytes
_TOKEN = re.compile(r"[!-~]{16,200}")  # a shorter one could be guessed
DOCUMENTATION = frozenset({"/docs", "/openapi.json"})  # paths that any page may link to
OTHERS = 0o077  # mode bits of group and others


def warn_if_shared(path: Path) -> None:
    """Log a warning if other users of this machine may read or write a file with secrets."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if path.is_file() and mode & OTHERS:
        log.warning(
            "file %r holds secrets and others may use it (mode %03o): run `chmod 600 %s`", str(path), mode, path
        )


def stored_token(home: Path, name: str = TOKEN_FILE) -> str | None:
    """Return the token of a home folder and redact it in all later output; None: there is no token yet.

    Parameters
    ----------
    home
        The folder.
    name
        Of the file in it.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds no token.
    """
    path = home / name
    try:
        # Non-blocking and bounded: a pipe without a writer, or an endless file, would hang us otherwise.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            token = (file.read(2**10) or b"").decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"file {str(path)!r} cannot be read: {exc.strerror}: see its permissions") from exc
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"file {str(path)!r} holds no token of 16 to 200 ASCII characters: delete it to get a new one"
        )
    hide(token)
    return token


def made_token(home: Path, name: str = TOKEN_FILE) -> str:
    """Return the token of a home folder; create it atomically if there is none. Raises as `stored_token` does."""
    if (token := stored_token(home, name)) is None:
        path = home / name
        try:
            home.mkdir(parents=True, exist_ok=True)
            fd, made = tempfile.mkstemp(dir=home, prefix=f".{name}.")  # mode 600
            try:
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
                os.link(made, path)  # the first of two concurrent starts wins
            except FileExistsError:
                pass
            finally:
                Path(made).unlink()
        except OSError as exc:
            raise ConfigError(f"file {str(path)!r} cannot be made: {exc.strerror}: make its folder writable") from exc
        token = stored_token(home, name)
        assert token is not None
    warn_if_shared(home / name)
    return token


def shows_token(headers: Mapping[str, str], token: str) -> bool:
    """Tell in constant time whether a request has the token, as `Authorization: Bearer …`."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return same and kind.lower() == "bearer"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What requests of a server show as `Authorization: Bearer …`.

    Attributes
    ----------
    own
        Opens everything.
    reader
        Reads only.
    name
        Name of the file with `own`, for texts.
    """

    own: str
    reader: str
    name: str = TOKEN_FILE

    def why_refused(self, method: str, headers: Mapping[str, str], *, is_local: bool) -> tuple[int, str] | None:
        """Return status and text with which a request without the right token is refused; None: it has it.

        On a server that listens on loopback, `is_local`, reading needs none.
        """
        if method in READING and (is_local or shows_token(headers, self.reader)):
            return None
        if shows_token(headers, self.own):
            return None
        if shows_token(headers, self.reader):
            return 403, f"this token only reads: send what {self.name!r} in TICKLINE_HOME holds"
        return 401, f"a token is needed: send 'Authorization: Bearer …' with what {self.name!r} in TICKLINE_HOME holds"


def made_tokens(home: Path, name: str = TOKEN_FILE) -> Tokens:
    """Return the tokens of a home folder; create them if there are none. Raises as `stored_token` does."""
    return Tokens(made_token(home, name), made_token(home, READER_TOKEN_FILE), name)


def why_refused(method: str, headers: Mapping[str, str], tokens: Tokens, *, is_local: bool) -> tuple[int, str] | None:
    """Return the HTTP status and the text with which a program's request is refused; None: it is answered.

    Parameters
    ----------
    method, headers
        Of the request.
    tokens
        What it may show.
    is_local
        Whether the server listens on loopback: reading then needs no token.
    """
    if is_local and not calls_loopback(headers):
        return 400, "host is not this machine: ask 127.0.0.1"
    if is_of_a_page(headers):
        return 403, "pages in a browser are not answered: ask with a program"
    return tokens.why_refused(method, headers, is_local=is_local)


def is_of_a_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a web page in a browser made a request; an address typed by the user does not count."""
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def is_a_visit(headers: Mapping[str, str], path: str) -> bool:
    """Tell whether a browser opens an address in a window: it comes from our own page, or is the documentation.

    The page on which a link to the documentation stands learns nothing of it, and cannot put it into a frame.
    """
    if "origin" in headers or headers.get("sec-fetch-mode") != "navigate":
        return False
    is_window = headers.get("sec-fetch-dest", "document") == "document"
    return is_window and (headers.get("sec-fetch-site") == "same-origin" or path in DOCUMENTATION)


def calls_loopback(headers: Mapping[str, str]) -> bool:
    """Tell whether the Host header names this machine itself, and not a foreign name that resolves to it."""
    try:
        return is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
    except ValueError:
        return False
