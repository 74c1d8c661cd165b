"""Find TimescaleDB's files for the embedded PostgreSQL server on this machine.

Owns the search and its order. Must not know whether a database uses them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ingest.errors import ConfigError

MAJOR = 18  # of the embedded PostgreSQL; a library of another major version cannot be loaded


class Files(NamedTuple):
    """The two search roots that the server needs."""

    lib: Path  # holds timescaledb*.so
    share: Path  # holds extension/timescaledb.control


def candidates() -> list[Files]:
    """Return the places to search, in order: /opt, then Debian's and Ubuntu's packages."""
    return [
        Files(Path("/opt/timescaledb/lib"), Path("/opt/timescaledb/share")),
        Files(Path(f"/usr/lib/postgresql/{MAJOR}/lib"), Path(f"/usr/share/postgresql/{MAJOR}")),
    ]


def find(timescaledb_dir: Path | None = None) -> Files | None:
    """Return the files from the folder of the setting, otherwise from the first place that has them.

    Raises
    ------
    ConfigError
        If the folder of the setting lacks a file; says which.
    """
    if timescaledb_dir is None:
        return next((files for files in candidates() if not _lacking(files)), None)
    folder = timescaledb_dir.absolute()
    files = Files(folder / "lib", folder / "share")
    if ":" in str(folder):
        raise ConfigError(
            f"setting TIMESCALEDB_DIR has the wrong value {str(timescaledb_dir)!r}: PostgreSQL takes ':' for the end "
            "of a folder: use a path without it"
        )
    if lacking := _lacking(files):
        raise ConfigError(
            f"setting TIMESCALEDB_DIR has the wrong value {str(timescaledb_dir)!r}: there is no {lacking}: "
            f"set it to the folder with lib/ and share/extension/ of TimescaleDB for PostgreSQL {MAJOR}, or unset it"
        )
    return files


def not_found_text() -> str:
    """Return the error text that lists the places searched."""
    looked = ", ".join(str(files.share.parent) for files in candidates())
    return (
        f"TimescaleDB for PostgreSQL {MAJOR} not found in {looked!r}: set TIMESCALEDB_DIR to the folder "
        "with its lib/ and share/extension/, or TICKLINE_ENGINE=postgres"
    )


def _lacking(files: Files) -> str | None:
    """Return the first missing file, None if there is none."""
    for folder, pattern in ((files.share / "extension", "timescaledb.control"), (files.lib, "timescaledb-*.so")):
        if not any(folder.glob(pattern)):
            return str(folder / pattern)
    return None
