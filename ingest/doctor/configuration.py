"""Checks of the settings and of the modes of files with secrets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ingest.addresses import is_loopback
from ingest.database.settings import OF_KUBERNETES, PREFIX, setting_names
from ingest.doctor.findings import State, failure, fine, warning
from ingest.doctor.installation import Installation
from ingest.env_file import ENV_FILE
from ingest.settings import Settings

SECRETS = ("api-token", "journal-token", "reader-token")  # files of the home folder
OTHERS = 0o077  # mode bits of group and others
FSYNC_MS_HIGH = 1_000
COMMIT_PACE_MS_HIGH = 1_000


def check_settings(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the settings can be read, and name those that nothing reads."""
    config = installation.given_settings()  # raises if a value or a name is wrong
    known = {name for field in Settings.model_fields for name in setting_names(Settings, field)}
    unknown = [
        name
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and not OF_KUBERNETES.fullmatch(name)
    ]
    for name in unknown:
        yield warning(f"{name} is in the environment, and no setting has this name", "correct or remove it")
    given = len(config.model_fields_set)
    where = f"and {ENV_FILE.absolute()}" if ENV_FILE.is_file() else "only: there is no .env here"
    yield fine(f"{given} set, by the environment {where}")


def check_wisdom(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Name settings that are allowed but cost data, safety or speed."""
    config, found = installation.settings, False
    for is_unwise, text, remedy in _unwise(config):
        if is_unwise:
            found = True
            yield warning(text, remedy)
    if not found:
        yield fine("none unwise")


def _unwise(config: Settings) -> Iterable[tuple[bool, str, str]]:
    """Yield whether a setting is unwise, why, and what to do."""
    temporary = Path(tempfile.gettempdir()).resolve()
    host = config.upstox_api_url.host or ""
    yield (
        config.home.absolute().is_relative_to(temporary),
        f"TICKLINE_HOME is under {str(temporary)!r}, which a restart empties",
        "set it to a folder that stays",
    )
    yield not host.endswith("upstox.com"), f"the vendor is {host!r}", "unset UPSTOX_API_URL and UPSTOX_ASSETS_URL"
    yield (
        not is_loopback(config.api_host),
        f"TICKLINE_API_HOST={config.api_host} serves the status without TLS to other machines",
        "keep 127.0.0.1, or put TLS in front",
    )
    yield (
        not is_loopback(config.journal_host) and config.journal_tls_certificate is None,
        f"TICKLINE_JOURNAL_HOST={config.journal_host} serves the journal without TLS to other machines",
        "set TICKLINE_JOURNAL_TLS_CERTIFICATE and TICKLINE_JOURNAL_TLS_KEY, or put TLS in front",
    )
    yield (
        config.journal_fsync_ms > FSYNC_MS_HIGH,
        f"TICKLINE_JOURNAL_FSYNC_MS={config.journal_fsync_ms}: a power cut may cost as much",
        "set it to 100",
    )
    yield (
        config.journal_keep_days == 0,
        "TICKLINE_JOURNAL_KEEP_DAYS=0: a day cannot be replayed after a fix",
        "set it to 7",
    )
    yield (
        config.journal_free_bytes_min == 0,
        "TICKLINE_JOURNAL_FREE_BYTES_MIN=0: the journal may fill the disk, and the database stops",
        "set it to 2147483648",
    )
    yield (
        config.commit_pace_ms > COMMIT_PACE_MS_HIGH,
        f"TICKLINE_COMMIT_PACE_MS={config.commit_pace_ms}: ticks are stored as much later",
        "set it to at most 50",
    )
    yield (
        config.backfill_s == 0,
        "TICKLINE_BACKFILL_S=0: missed minutes are not repaired while recording",
        "set it to 15, or run `tickline backfill` each day",
    )
    yield (
        config.retain_days is not None and not config.export,
        "TICKLINE_RETAIN_DAYS without TICKLINE_EXPORT: days stay unless they are reconciled",
        "set TICKLINE_EXPORT=true, or run `tickline reconcile` each day",
    )


def check_modes(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that only their owner may use files with secrets, and that the home folder can be written."""
    config = installation.settings
    files = [path for path in (ENV_FILE, *(config.home / name for name in SECRETS)) if path.is_file()]
    is_fine = True
    for path in files:
        mode = path.stat().st_mode & 0o777
        if mode & OTHERS:
            is_fine = False
            yield warning(f"{path} has secrets and mode {mode:03o}", f"run `chmod 600 {path}`")
    nearest = next(one for one in (config.home.absolute(), *config.home.absolute().parents) if one.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield failure(f"{nearest} cannot be written", "correct its owner or mode, or set TICKLINE_HOME")
    elif is_fine:
        yield fine(f"{', '.join(map(str, files)) or 'no file with secrets'}; {config.home} can be written")
