"""The compiled decoder under AddressSanitizer and UndefinedBehaviorSanitizer: altered real frames, no report.

The module is built once more with both sanitizers and loaded by a process of its own, which alters recorded frames at
random: bytes, bits, pieces put in, taken out and cut off. Each is read from memory that ends with the frame.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from Cython.Build import cythonize

from ingest.decode.frames import DECODER
from tests.data import REPOSITORY, data_file

pytestmark = pytest.mark.skipif(DECODER != "compiled", reason="the compiled decoder is not installed")

SOURCE = REPOSITORY / "ingest" / "decode" / "compiled.pyx"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
FUZZER = """
import importlib.util, json, random, sys
from itertools import islice
from pathlib import Path

module, recording, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
spec = importlib.util.spec_from_file_location("ingest.decode.compiled", module)
compiled = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiled)
from google.protobuf.message import DecodeError
from ingest.decode.frames import DECODER, decode_all
from ingest.journal.recording import read_recording
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.proto import upstox_feed_v3_pb2 as pb
from tests.unit.decode.test_decoders_agree import damaged

real = [frame.payload for frame in islice(read_recording(recording), 2_000)]
rng = random.Random(seed)
tally = {"frames": 0, "sure": 0, "refused": 0}
while tally["frames"] < count:
    payloads = [damaged(rng.choice(real), rng) for _ in range(min(500, count - tally["frames"]))]
    payloads = [payload[: rng.randrange(len(payload))] if rng.random() < 0.1 else payload for payload in payloads]
    unsure = set(compiled.read(payloads).unsure)
    errors = decode_all(payloads, compiled.read).errors
    for index, payload in enumerate(payloads):
        try:
            taken = CURRENT_MS_MIN <= pb.FeedResponse.FromString(payload).currentTs <= CURRENT_MS_MAX
        except DecodeError:
            taken = False
        assert taken == (index not in errors), payload.hex()
        assert taken or index in unsure, payload.hex()
    tally["frames"] += len(payloads)
    tally["sure"] += len(payloads) - len(unsure)
    tally["refused"] += len(errors)
print(json.dumps(tally))
"""


def sanitized(folder: Path, optimise: str) -> Path:
    """Build the module with the sanitizers."""
    from setuptools import Extension

    [extension] = cythonize([Extension("ingest.decode.compiled", [str(SOURCE)])], build_dir=str(folder), quiet=True)
    built = folder / f"compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_paths()["include"]
    command = ["gcc", "-shared", "-fPIC", *SANITIZE, optimise, f"-I{include}", *extension.sources, "-o", str(built)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    return built


def runtime(name: str) -> str:
    said = subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


def fuzz(folder: Path, count: int, *, seed: int, timeout: float, optimise: str) -> dict[str, int]:
    recording = data_file("session-20251215-open.frames.gz")
    # Python leaks on purpose; its own allocator would hide what is read past the end of a frame.
    environment = os.environ | {
        "LD_PRELOAD": f"{runtime('libasan.so')}:{runtime('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    ran = subprocess.run(
        [sys.executable, "-c", FUZZER, sanitized(folder, optimise), recording, str(count), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=timeout,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert "Sanitizer" not in ran.stderr
    tally: dict[str, int] = json.loads(ran.stdout)
    return tally


def test_altered_frames_bring_no_report_of_the_sanitizers(tmp_path: Path) -> None:
    tally = fuzz(tmp_path, 3_000, seed=1, timeout=250, optimise="-O0")  # compiled in a third of the time
    assert 300 < tally["refused"] < tally["frames"] == 3_000
    assert tally["sure"] > 300


@pytest.mark.soak
def test_ten_million_altered_frames_bring_no_report_of_the_sanitizers(tmp_path: Path) -> None:
    tally = fuzz(tmp_path, 10_000_000, seed=2, timeout=7_000, optimise="-O1")
    print(tally)
    assert tally["frames"] == 10_000_000
    assert tally["refused"] > 1_000_000
