"""Load queries and revisions from `sql/`.

A checkout has `sql/` in its top folder, where a DBA can read and run the files; an installed package has a copy
beside this module.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_INSTALLED = Path(__file__).parent / "sql"
ROOT = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "sql"
ENGINES = ("timescale", "postgres")


@lru_cache(maxsize=256)
def query(name: str) -> str:
    """Return the text of `sql/queries/<name>.sql`, such as `store/refresh_bars`; its header lists its parameters."""
    return (ROOT / "queries" / f"{name}.sql").read_text(encoding="utf-8")


def ddl_files(revision: str, engine: str) -> list[Path]:
    """Return the files of a revision for an engine, in the order to run them.

    `NNN_object.sql` is for both engines, `NNN_object.<engine>.sql` for one engine.

    Raises
    ------
    FileNotFoundError
        If the revision has no folder, which means that the installation is broken.
    ValueError
        If the engine is unknown.
    """
    folder = ROOT / "ddl" / revision
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {ENGINES}")
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    names = {path.name: path for path in folder.glob("*.sql")}
    return [names[name] for name in sorted(names) if name.split(".")[1] in ("sql", engine)]
