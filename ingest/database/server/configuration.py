"""Settings of the embedded server, and the file that holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ingest.database import timescaledb

FILE = "tickline.conf"  # included by `postgresql.conf`
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": "5432",  # part of the socket's name; otherwise PGPORT of the environment would set it
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "32MB",  # groups an hour of ticks into bars in memory; there are few sessions
    "max_wal_size": "2GB",
    "wal_compression": "pglz",  # the package is built without lz4
    "wal_level": "minimal",  # bulk loads write less log; see `of_wal_level`
    "max_wal_senders": "0",
    "jit": "off",  # compiling costs more than it saves for queries of a few milliseconds
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}
TIMESCALEDB_SETTINGS: Mapping[str, str] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_worker_processes": "32",  # 16 background workers, their launcher, and parallel queries
}
WAL_SENDERS = "10"  # the server's own default: a base backup takes two, a standby one


def of_wal_level(wal_level: str) -> dict[str, str]:
    """Return the settings of a level of the write-ahead log; below `replica` nothing may be sent."""
    return {"wal_level": wal_level, "max_wal_senders": "0" if wal_level == "minimal" else WAL_SENDERS}


def ours(socket_dir: Path, files: timescaledb.Files | None) -> dict[str, str]:
    """Return the settings of a server with its socket in `socket_dir`; `files` loads TimescaleDB."""
    settings = {**SETTINGS, "unix_socket_directories": str(socket_dir)}
    if files is not None:
        settings |= {
            **TIMESCALEDB_SETTINGS,
            "extension_control_path": f"{files.share}:$system",
            "dynamic_library_path": f"{files.lib}:$libdir",
        }
    return settings


def write(data: Path, settings: Mapping[str, str]) -> None:
    """Write the settings file that `postgresql.conf` includes."""
    lines = ["# Written by tickline at every start; change postgresql.conf instead.\n"]
    for name, value in settings.items():
        quoted = value.replace("\\", r"\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'\n")
    path = data / FILE
    path.write_bytes(os.fsencode("".join(lines)))
    path.chmod(0o644)


def include(data: Path) -> None:
    """Make `postgresql.conf` include the settings file."""
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"\ninclude_if_exists = '{FILE}'  # rewritten at every cold start\n")
