"""Build hook: compile the decoder. Without a compiler the package is built without it, and decodes with `plain`."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

MODULE = "ingest.decode.compiled"
SOURCE = f"{MODULE.replace('.', '/')}.pyx"


class CompiledDecoder(BuildHookInterface):  # type: ignore[type-arg]
    """Compile the decoder into the wheel; for an editable install, beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before hatchling collects the files."""
        self._work = TemporaryDirectory()
        self._compile()
        target = Path(SOURCE).with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
        built = Path(self._work.name, target)
        if not built.exists():
            self.app.display_warning("The decoder was not compiled: a slower one is used. Is there a C compiler?")
        elif version == "editable":
            place = Path(self.root, target)
            new = place.with_suffix(".new")
            new.write_bytes(built.read_bytes())
            new.replace(place)  # at once: a running process keeps the old file
        else:
            build_data["force_include"][str(built)] = str(target)
        build_data["pure_python"] = not built.exists()
        build_data["infer_tag"] = built.exists()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Run after the files were collected."""
        self._work.cleanup()

    def _compile(self) -> None:
        """Compile; an optional extension that cannot be compiled is left out."""
        source = Extension(MODULE, [str(Path(self.root, SOURCE))])
        work = self._work.name
        [extension] = cythonize([source], build_dir=work, quiet=True)
        extension.optional = True
        command = build_ext(Distribution({"ext_modules": [extension]}))
        command.build_temp = command.build_lib = work
        command.ensure_finalized()
        command.run()
