"""The settings file `.env`: its text, in any encoding that says what it is, and what it sets.

No error tells a value of it: they name the file, the line and the remedy. `docker compose` and editors write this
file too, so what we do not know stays as it is.
"""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from ingest.errors import ConfigError

log = logging.getLogger(__name__)

ENV_FILE = Path(".env")  # of the current folder
BYTES_MAX = 2**20  # a hundred settings are some kilobytes; a file that is larger is another file

_named: set[tuple[Path, int]] = set()  # lines that a warning has named; the file is read several times


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a settings file and its encoding; ("", "utf-8") where there is no such file.

    UTF-8 and, where they say so, UTF-16 and UTF-32 are read, as Windows' editors and shells write them.

    Raises
    ------
    ConfigError
        If it cannot be read, or is in another encoding.
    """
    if not path.is_file():
        return "", "utf-8"
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(f"settings file {str(path)!r} cannot be read: {exc.strerror}: see its permissions") from None
    if len(data) > BYTES_MAX:
        raise ConfigError(f"settings file {str(path)!r} has more than {BYTES_MAX} bytes: it is no settings file")
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as exc:  # which holds the whole file
        line = data[: exc.start].decode(encoding, "replace").count("\n") + 1
        raise ConfigError(
            f"settings file {str(path)!r} line {line} is not {encoding.removesuffix('-sig').upper()}: save the file "
            "as UTF-8, or take the letter with an accent out"
        ) from None


def read_env(path: Path = ENV_FILE) -> dict[str, str | None]:
    """Return what a settings file sets; nothing where there is none. Raises as `read_text` does.

    A line that sets nothing is named once, and skipped.
    """
    text, _ = read_text(path)
    for part in parse_stream(io.StringIO(text)):
        blank = part.original.string[: -len(part.original.string.lstrip())].count("\n")  # lines before it are its own
        place = path.absolute(), part.original.line + blank
        if part.error and place not in _named:
            _named.add(place)
            log.warning(
                "settings file '%s' line %d is not understood and is skipped: write NAME=value, and close its quotes",
                path,
                place[1],
            )
    return dotenv_values(stream=io.StringIO(text))


def with_setting(text: str, name: str, value: str) -> str:
    """Return the text of a settings file with one setting, all else as it was.

    Examples
    --------
    >>> with_setting("# mine\\nexport A=1\\nB=2\\n", "A", "3")
    '# mine\\nB=2\\nA=3\\n'
    """
    kept = "".join(part.original.string for part in parse_stream(io.StringIO(text)) if part.key != name)
    ended = not kept or kept.endswith(("\n", "\r"))
    return f"{kept}{'' if ended else chr(10)}{name}={value}\n"
