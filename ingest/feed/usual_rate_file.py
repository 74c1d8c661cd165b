"""The usual frame rates of connections on disk.

Owns the file `habits.json` under TICKLINE_HOME, keyed by collector, vendor address and connection, so that the rates
of a simulator are not used for the real feed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from ingest.feed.usual_rate import UsualRates
from ingest.files import replace_file
from ingest.settings import Settings

log = logging.getLogger(__name__)

FILE = "habits.json"  # the name that earlier versions wrote


def load_usual_rates(settings: Settings) -> dict[str, UsualRates]:
    """Return the known rates of each connection; nothing if the file is absent or cannot be read."""
    try:
        stored = _read(settings)[_owner(settings)]
        return {name: UsualRates.load(one) for name, one in stored.items()}
    except (FileNotFoundError, KeyError):
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        log.warning("usual frame rates not read, they are learnt again path=%s error=%r", settings.home / FILE, exc)
        return {}


def store_usual_rates(settings: Settings, rates: Mapping[str, UsualRates]) -> None:
    """Store the known rates of each connection; a failure loses only these."""
    path = settings.home / FILE
    try:
        try:
            stored = dict(_read(settings))
        except (FileNotFoundError, ValueError):
            stored = {}
        stored[_owner(settings)] = {name: usual.dump() for name, usual in rates.items()}
        replace_file(path, json.dumps(stored).encode())
    except OSError as exc:
        log.warning("usual frame rates not stored path=%s error=%s", path, exc.strerror)


def _read(settings: Settings) -> dict[str, Any]:
    found = json.loads((settings.home / FILE).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _owner(settings: Settings) -> str:
    return f"{settings.collector} {settings.api_url}"
