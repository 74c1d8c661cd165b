"""Installation with and without a compiler, from the tree, into fresh places."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.data import REPOSITORY
from tests.unit.decode.test_frames import full_feed, message
from tests.wheels import unpacked_wheel

WITHOUT = {"CC": "false", "CXX": "false"}  # a compiler that fails
DECODE = (
    "import sys; from ingest.decode.frames import DECODER, decode; "
    "print(DECODER, decode(bytes.fromhex(sys.argv[1])).updates.one(0).ltp)"
)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=900,
        env={name: value for name, value in os.environ.items() if not name.startswith("TICKLINE_")} | environment,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def wheel(folder: Path, **environment: str) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, REPOSITORY, cwd=folder, **environment)
    [built] = folder.glob("tickline-*.whl")
    return built


def test_wheel_made_without_a_compiler_decodes_with_the_plain_decoder(tmp_path: Path) -> None:
    name, site = unpacked_wheel(tmp_path, **WITHOUT)
    assert name.endswith("-py3-none-any.whl")
    frame = message(full_feed()).hex()
    assert run(sys.executable, "-c", DECODE, frame, cwd=tmp_path, PYTHONPATH=str(site)) == "plain 269.2\n"


@pytest.mark.soak
@pytest.mark.parametrize("decoder", ["compiled", "plain"])
@pytest.mark.parametrize("form", ["wheel", "editable"])
def test_fresh_environment_records_the_demo_with_the_decoder_that_it_can_have(
    form: str, decoder: str, tmp_path: Path
) -> None:
    compiler = WITHOUT if decoder == "plain" else {}
    tree, place = tmp_path / "tree", tmp_path / "venv"
    venv.create(place, with_pip=True)
    if form == "wheel":
        given = [wheel(tmp_path, **compiler)]
    else:
        ignored = shutil.ignore_patterns(".venv", ".git", "*.so", "__pycache__", ".*_cache")
        given = ["-e", shutil.copytree(REPOSITORY, tree, ignore=ignored)]
    run(place / "bin" / "pip", "install", "-q", *given, cwd=tmp_path, **compiler)
    frame = message(full_feed()).hex()
    assert run(place / "bin" / "python", "-c", DECODE, frame, cwd=tmp_path) == f"{decoder} 269.2\n"
    assert "ticks written" in run(place / "bin" / "tickline", "demo", cwd=tmp_path)
