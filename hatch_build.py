"""Build hook: compile the modules of the hot path. Without a compiler the package is built without them: slower."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

MODULES = ("ingest.decode.compiled", "ingest.normalise.compiled", "ingest.store.compiled")


class CompiledModules(BuildHookInterface):  # type: ignore[type-arg]
    """Compile the modules into the wheel; for an editable install, beside their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before hatchling collects the files."""
        self._work = TemporaryDirectory()
        self._compile()
        targets = [_file_of(module).with_suffix(sysconfig.get_config_var("EXT_SUFFIX")) for module in MODULES]
        built = {target: Path(self._work.name, target) for target in targets}
        is_built = all(file.exists() for file in built.values())
        if not is_built:
            self.app.display_warning("Nothing was compiled: decoding will be slower. Is there a C compiler?")
        for target, file in built.items() if is_built else ():
            if version == "editable":
                place = Path(self.root, target)
                new = place.with_suffix(".new")
                new.write_bytes(file.read_bytes())
                new.replace(place)  # at once: a running process keeps the old file
            else:
                build_data["force_include"][str(file)] = str(target)
        build_data["pure_python"] = not is_built
        build_data["infer_tag"] = is_built

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Run after the files were collected."""
        self._work.cleanup()

    def _compile(self) -> None:
        """Compile; an optional extension that cannot be compiled is left out."""
        work = self._work.name
        sources = [Extension(module, [str(Path(self.root, _file_of(module)))]) for module in MODULES]
        extensions = cythonize(sources, build_dir=work, quiet=True)
        for extension in extensions:
            extension.optional = True
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.build_temp = command.build_lib = work
        command.ensure_finalized()
        command.run()


def _file_of(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".pyx")
