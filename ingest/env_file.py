"""Read and change the settings file `.env`, in UTF-8 or a detectable UTF-16 or UTF-32.

Errors name the file, the line and the remedy, never a value. `docker compose` and editors use this file too, so
everything unknown in it stays as it is.
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

ENV_FILE = Path(".env")  # in the current folder
BYTES_MAX = 2**20  # a hundred settings take a few kilobytes; a larger file is something else

_named: set[tuple[Path, int]] = set()  # lines already warned about; the file is read several times


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a settings file and its encoding; ("", "utf-8") if there is no such file.

    Reads UTF-8 and also UTF-16 and UTF-32, which editors and shells on Windows write.

    Raises
    ------
    ConfigError
        If the file cannot be read, is too large, or has another encoding.
    """
    if not path.is_file():
        return "", "utf-8"
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as exc:
        raise ConfigError(
            f"settings file {str(path)!r} cannot be read: {exc.strerror}: check its permissions"
        ) from None
    if len(data) > BYTES_MAX:
        raise ConfigError(
            f"settings file {str(path)!r} has more than {BYTES_MAX} bytes: replace it with a settings file"
        )
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as exc:  # not chained: it contains the whole file
        line = data[: exc.start].decode(encoding, "replace").count("\n") + 1
        raise ConfigError(
            f"settings file {str(path)!r} line {line} is not {encoding.removesuffix('-sig').upper()}: save the file "
            "as UTF-8, or remove accented letters"
        ) from None


def read_env(path: Path = ENV_FILE) -> dict[str, str | None]:
    """Return the settings in a file; empty if there is no file. Raises as `read_text` does.

    Skips a line that does not parse and warns about it once.
    """
    text, _ = read_text(path)
    for part in parse_stream(io.StringIO(text)):
        before = part.original.string[: -len(part.original.string.lstrip())]
        blank = before.count("\n")  # a part includes the blank lines before it
        place = path.absolute(), part.original.line + blank
        if part.error and place not in _named:
            _named.add(place)
            log.warning(
                "settings file '%s' line %d does not parse and is skipped: write NAME=value and close all quotes",
                path,
                place[1],
            )
    return dotenv_values(stream=io.StringIO(text))


def with_setting(text: str, name: str, value: str) -> str:
    """Return the text of a settings file with one setting changed or added, everything else unchanged.

    Examples
    --------
    >>> with_setting("# mine\\nexport A=1\\nB=2\\n", "A", "3")
    '# mine\\nB=2\\nA=3\\n'
    """
    kept = "".join(part.original.string for part in parse_stream(io.StringIO(text)) if part.key != name)
    ended = not kept or kept.endswith(("\n", "\r"))
    return f"{kept}{'' if ended else chr(10)}{name}={value}\n"
