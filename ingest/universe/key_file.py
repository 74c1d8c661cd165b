"""Universe of a collector: instrument keys that need no database, from the settings and a file.

Owns the form of the file: a line `KEY`, or `KEY,MODE` and whatever follows, as `tickline universe show --format csv`
prints them; blank lines, comments (#) and the head of a CSV are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ingest.errors import ConfigError
from ingest.model.keys import is_key, shown
from ingest.settings import ModeName, Settings

HEAD = "instrument_key"
FILE_BYTES_MAX = 16 * 2**20  # the 25,000 keys of a Plus account are 1 MB
_MODES = get_args(ModeName)
BY_HAND = "give keys (NSE_FO|53001), or a file made by `tickline universe show --format csv` where the database is"


def keys_without_database(settings: Settings, *, may_be_given: bool = False) -> dict[str, str]:
    """Return the wanted keys -> modes of TICKLINE_UNIVERSE and TICKLINE_UNIVERSE_FILE.

    Parameters
    ----------
    settings
        The settings.
    may_be_given
        Whether neither of them may be set, because writers give the keys.

    Raises
    ------
    ConfigError
        If something in them needs a database, or is no key; if the file cannot be read; or if there is no key.
    """
    names = [name for name in map(str.strip, settings.universe) if not is_key(name)]
    if names:
        raise ConfigError(f"name {shown(names[0])!r} needs a database, and a collector has none: {BY_HAND}")
    if settings.underlyings:
        raise ConfigError(
            f"TICKLINE_UNDERLYINGS={','.join(settings.underlyings)} needs a database, and a collector has none: "
            f"{BY_HAND}"
        )
    keys = dict.fromkeys((name.strip() for name in settings.universe), str(settings.mode))
    if settings.universe_file is not None:
        keys = keys_of_file(settings.universe_file, settings.mode) | keys
    if not keys and not (may_be_given and settings.universe_file is None):
        raise ConfigError(f"nothing to record: set TICKLINE_UNIVERSE_FILE or TICKLINE_UNIVERSE; {BY_HAND}")
    return keys


def keys_of_file(path: Path, mode: str) -> dict[str, str]:
    """Return the keys -> modes of a file; `mode` is that of a line without one. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise ConfigError(f"file {str(path)!r} is larger than {FILE_BYTES_MAX:,} bytes: is it a list of keys?")
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as exc:
        raise ConfigError(f"file {str(path)!r} cannot be read: {exc.strerror}: see TICKLINE_UNIVERSE_FILE") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"file {str(path)!r} is not text in UTF-8: {BY_HAND}") from exc
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        key, _, rest = (part.strip() for part in line.partition(","))
        if not key or key.startswith("#") or key == HEAD:
            continue
        given = rest.split(",")[0].strip() or mode
        if not is_key(key):
            raise ConfigError(f"line {number} of {str(path)!r} has {shown(key)!r}, no instrument key: {BY_HAND}")
        if given not in _MODES:
            raise ConfigError(
                f"line {number} of {str(path)!r} has mode {shown(given)!r}: give one of {', '.join(_MODES)}"
            )
        keys[key] = given
    return keys
