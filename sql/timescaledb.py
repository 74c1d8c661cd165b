"""Where TimescaleDB's files for the embedded server's PostgreSQL are on this machine.

Owns the search and its order. Must not know whether a database uses them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

MAJOR = 18  # of the embedded PostgreSQL: a library of another major version cannot be loaded


class Files(NamedTuple):
    """The two search roots that the server needs."""

    lib: Path  # holds timescaledb*.so
    share: Path  # holds extension/timescaledb.control


def candidates(timescaledb_dir: Path | None) -> list[Files]:
    """Return the places to look in, first one first: the setting, /opt, Debian's and Ubuntu's packages."""
    prefixes = [] if timescaledb_dir is None else [timescaledb_dir.expanduser().absolute()]
    prefixes.append(Path("/opt/timescaledb"))
    places = [Files(prefix / "lib", prefix / "share") for prefix in prefixes]
    return [
        *places,
        Files(Path(f"/usr/lib/postgresql/{MAJOR}/lib"), Path(f"/usr/share/postgresql/{MAJOR}")),
    ]


def find(timescaledb_dir: Path | None = None) -> Files | None:
    """Return the first place that holds both the libraries and the control file."""
    for files in candidates(timescaledb_dir):
        if (files.share / "extension" / "timescaledb.control").is_file() and any(files.lib.glob("timescaledb-*.so")):
            return files
    return None


def not_found_text(timescaledb_dir: Path | None) -> str:
    """Return the error text that names the places looked in."""
    looked = ", ".join(str(files.share.parent) for files in candidates(timescaledb_dir))
    return (
        f"TimescaleDB for PostgreSQL {MAJOR} not found in {looked!r}: set TIMESCALEDB_DIR to the folder "
        "with its lib/ and share/extension/, or TICKLINE_ENGINE=postgres"
    )
