"""The wheel of the tree, built with the libraries of this environment and unpacked.

Owns the quick way. That a clean environment with what pyproject.toml requires can build it as well, `make` shows when
it makes `.venv`, and the long form of `tests/fault/test_installation.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.data import REPOSITORY


def unpacked_wheel(folder: Path, **environment: str) -> tuple[str, Path]:
    """Return the name of the wheel, and where its content is: a folder to import from."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        check=True,
        cwd=REPOSITORY,
        timeout=240,
        capture_output=True,
        env=os.environ | environment,
    )
    [built] = folder.glob("tickline-*.whl")
    site = folder / "site"
    with ZipFile(built) as archive:
        archive.extractall(site)
    return built.name, site
