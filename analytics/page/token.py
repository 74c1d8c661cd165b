"""The token of the HTTP API, as the ingester keeps it in the home folder."""

from __future__ import annotations

from pathlib import Path

from ingest.errors import ConfigError
from ingest.redaction import hide

TOKEN_FILE = "api-token"  # noqa: S105  in the home folder
TOKEN_BYTES_MAX = 2**10


def stored_token(home: Path) -> str | None:
    """Return the token of a home folder and redact it in all later output; None: there is no token yet.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    path = home.expanduser() / TOKEN_FILE
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            token = file.read(TOKEN_BYTES_MAX).decode("utf-8", "replace").strip()
    except OSError as exc:
        raise ConfigError(f"file {str(path)!r} cannot be read: {exc.strerror}: see its permissions") from exc
    if not token:
        return None
    hide(token)
    return token
