"""The loader of `sql/`: the text of a query, and the files of a revision.

In a checkout `sql/` lies at the top, where a DBA reads and runs its files; an installed package has a copy beside
this module.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_INSTALLED = Path(__file__).parent / "sql"
ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "sql"
ENGINES = ("timescale", "postgres")


@lru_cache(maxsize=256)
def query(name: str) -> str:
    """Return the text of `sql/queries/<name>.sql`, as `store/refresh_bars`; its header says parameters and columns."""
    return (ROOT / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def ddl_files(revision: str, engine: str) -> list[Path]:
    """Return the files of a revision for an engine, in the order to run them.

    `NNN_object.sql` is for both engines, `NNN_object.<engine>.sql` for that one.

    Raises
    ------
    FileNotFoundError
        If there is no folder of that revision: the installation is broken.
    """
    folder = ROOT / "ddl" / revision
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {ENGINES}")
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    names = {path.name: path for path in folder.glob("*.sql")}
    return [names[name] for name in sorted(names) if name.split(".")[1] in ("sql", engine)]
