"""Access: the secret of who may change what runs, and what no page in a browser may reach.

The token is made at the first start and kept in the home folder, for its owner only; the commands of this machine
read it there. A page that a browser shows has no token, but it can send requests to this machine, under a name
of its own for it: they are told by their Host and Origin.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ingest.addresses import is_loopback
from ingest.errors import ConfigError
from ingest.redaction import hide

log = logging.getLogger(__name__)

TOKEN_FILE = "api-token"  # noqa: S105  in the home folder
TOKEN_BYTES = 32  # of chance
_TOKEN = re.compile(r"[!-~]{16,200}")  # a shorter one could be guessed
OTHERS = 0o077  # what a file's mode has for group and others


def warn_if_shared(path: Path) -> None:
    """Say so if others of this machine may read or write a file with secrets."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if path.is_file() and mode & OTHERS:
        log.warning(
            "file %r holds secrets and others may use it (mode %03o): run `chmod 600 %s`", str(path), mode, path
        )


def stored_token(home: Path) -> str | None:
    """Return the token of a home, which is not shown from now on; None: there is none yet.

    Raises
    ------
    ConfigError
        If the file cannot be read or holds none.
    """
    path = home / TOKEN_FILE
    try:
        # Whatever lies there: a pipe that nobody writes into would hold us, and so would a file without an end.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            token = (file.read(2**10) or b"").decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"file {str(path)!r} cannot be read: {exc.strerror}: see its permissions") from exc
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"file {str(path)!r} holds no token of 16 to 200 ASCII letters: delete it, one is made")
    hide(token)
    return token


def made_token(home: Path) -> str:
    """Return the token of a home; make it if there is none, at once or not at all. Raises as `stored_token` does."""
    if (token := stored_token(home)) is None:
        path = home / TOKEN_FILE
        try:
            home.mkdir(parents=True, exist_ok=True)
            fd, made = tempfile.mkstemp(dir=home, prefix=f".{TOKEN_FILE}.")  # mode 600
            try:
                with os.fdopen(fd, "w", encoding="ascii") as file:
                    file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
                os.link(made, path)  # the first of two starts wins
            except FileExistsError:
                pass
            finally:
                Path(made).unlink()
        except OSError as exc:
            raise ConfigError(f"file {str(path)!r} cannot be made: {exc.strerror}: make its folder writable") from exc
        token = stored_token(home)
        assert token is not None
    warn_if_shared(home / TOKEN_FILE)
    return token


def shows_token(headers: Mapping[str, str], token: str) -> bool:
    """Tell whether a request has the token: `Authorization: Bearer …`. Takes as long whatever is wrong with it."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return same and kind.lower() == "bearer"


def is_of_a_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a page in a browser made a request; an address that its user typed is none."""
    return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"


def calls_loopback(headers: Mapping[str, str]) -> bool:
    """Tell whether a request calls this machine by a name of its own, and not by one that somebody made for it."""
    try:
        return is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or "")
    except ValueError:
        return False
