"""Names as last resolved, on disk: subscribed when a run starts without the database.

Owns the file `journal/<collector>.names.json` under TICKLINE_HOME, next to the journal: for each name of the universe
and each underlying its keys -> modes, and the day for which they were resolved.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import NamedTuple, get_args

from ingest.files import replace_file
from ingest.model.keys import is_key
from ingest.settings import ModeName, Settings

log = logging.getLogger(__name__)

NAMES_MAX = 10_000  # newest ones kept; no universe has as many, but a user may type others every day
UNIVERSE, UNDERLYINGS = "universe", "underlyings"  # INFY means a share in one and its contracts in the other
_MODES = frozenset(get_args(ModeName))


class Resolved(NamedTuple):
    """What a name meant on a day."""

    on: date  # market-local
    keys: dict[str, str]  # key -> mode


Names = dict[str, dict[str, Resolved]]  # UNIVERSE or UNDERLYINGS -> name -> what it meant


def file_of(settings: Settings) -> Path:
    """Return the file with the names of the collector."""
    folder = settings.journal_folder
    return folder.with_name(f"{folder.name}.names.json")


def remembered(settings: Settings) -> Names:
    """Return names as last resolved; none if the file is absent, and no damaged entries."""
    found: Names = {UNIVERSE: {}, UNDERLYINGS: {}}
    path = file_of(settings)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        for kind, names in found.items():
            for name, (on, keys) in stored.get(kind, {}).items():
                known = {key: mode for key, mode in keys.items() if is_key(key) and mode in _MODES}
                if known:
                    names[str(name)] = Resolved(date.fromisoformat(on), known)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        log.warning("names as last resolved cannot be read path=%s error=%s", path, exc)
    return found


def recalled(settings: Settings) -> dict[str, str]:
    """Return the wanted key -> mode as far as known without the database.

    Keys are used as they are, names mean what they last meant; a name never resolved is reported and left out.
    """
    known = remembered(settings)
    keys: dict[str, str] = {}
    said: list[str] = []
    for name in settings.universe:
        if is_key(name.strip()):
            keys[name.strip()] = settings.mode
        elif resolved := known[UNIVERSE].get(name):
            keys |= dict.fromkeys(resolved.keys, settings.mode)
            said.append(f"name {name!r} is taken as it was on {resolved.on}: {', '.join(resolved.keys)}")
        else:
            said.append(f"name {name!r} is skipped, it was not resolved before: give its instrument key")
    for name in settings.underlyings:
        if resolved := known[UNDERLYINGS].get(name):
            keys = resolved.keys | keys
            said.append(f"underlying {name!r} is taken as it was on {resolved.on}: {len(resolved.keys):,} keys")
        else:
            said.append(f"underlying {name!r} is skipped, it was not resolved before")
    for text in said if keys else ():
        log.warning("without the database %s", text)
    return keys


def remember(settings: Settings, fresh: Names) -> None:
    """Add or replace stored names; a failure is only logged."""
    kept = remembered(settings)
    for kind, names in kept.items():
        names.update(fresh.get(kind, {}))
        for name in sorted(names, key=lambda name: names[name].on)[:-NAMES_MAX]:
            del names[name]
    path = file_of(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(_plain(kept)).encode())
    except OSError as exc:
        log.warning("names as last resolved cannot be stored path=%s error=%s", path, exc.strerror)


def _plain(names: Names) -> Mapping[str, object]:
    return {
        kind: {name: [resolved.on.isoformat(), resolved.keys] for name, resolved in of_kind.items()}
        for kind, of_kind in names.items()
    }
