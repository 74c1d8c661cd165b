"""The machines of the Compose profile `cluster` on loopback: what its scripts make, and its nodes with its own file."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.broker import Broker, PortTakenError
from tests.data import REPOSITORY
from tests.simulated import free_port

DEPLOY = REPOSITORY / "ingest" / "deploy"
NODES, COLLECTORS, WRITERS = ("nats-1", "nats-2", "nats-3"), ("collector-1", "collector-2"), ("writer-1", "writer-2")
MACHINES = (*NODES, *COLLECTORS, *WRITERS, "reader")


def prepare(folder: Path) -> str:
    """Run the script that makes what the machines know each other by; return what it says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for name in ("authority", *MACHINES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    user = str(os.getuid())
    done = subprocess.run(
        ["sh", str(DEPLOY / "cluster" / "prepare.sh"), str(folder)],
        env=os.environ | {"PROGRAM_USER": user, "BROKER_USER": user},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@cache
def _once() -> tuple[Path, str]:
    """Run the script once in a process."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    atexit.register(shutil.rmtree, folder)
    return folder, prepare(folder)


def prepared(folder: Path) -> str:
    """Put into a folder what the script has made once, for tests of something else; return what it said."""
    made, said = _once()
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return said


def other_authority(folder: Path) -> Path:
    """Return the certificate of an authority that nobody here has."""
    path = folder / "other.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=Other", "-keyout", str(folder / "other.key"), "-out", str(path)]
    subprocess.run(command, capture_output=True, check=True)
    return path


def signed(folder: Path, name: str, hosts: str, *, days: int = 1) -> tuple[Path, Path]:
    """Return certificate and key by the authority of a folder, for other hosts or times than the script's."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    request, extensions = folder / "request", folder / "extensions"
    extensions.write_text(f"subjectAltName = {hosts}\n")
    new = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = folder / "authority"
    sign = ["openssl", "x509", "-req", "-CA", authority / "authority.pem", "-CAkey", authority / "authority.key"]
    sign += ["-set_serial", "7", "-days", str(days), "-extfile", extensions]
    for command in (
        [*new, "-subj", f"/CN={name}", "-keyout", key, "-out", request],
        [*sign, "-in", request, "-out", certificate],
    ):
        subprocess.run(command, capture_output=True, check=True)
    return certificate, key


def settings_of(folder: Path, machine: str) -> dict[str, str]:
    """Return what the script has put into the `.env` of a machine."""
    return dict(line.split("=", 1) for line in (folder / machine / ".env").read_text().splitlines())


class Node(Broker):
    """A node with the file of the profile; addresses and paths of its container are replaced by its own here."""

    def __init__(self, cluster: Path, name: str, ports: Sequence[tuple[int, int, int]]) -> None:
        self.folder, self.environment, self.is_frozen = cluster / name, {"NODE": name}, False
        self.port, self.monitor, self.routes = ports[NODES.index(name)]
        text = (DEPLOY / "nats" / "nats.conf").read_text()
        given = {
            '"0.0.0.0:4222"': f'"127.0.0.1:{self.port}"',
            '"0.0.0.0:8222"': f'"127.0.0.1:{self.monitor}"',
            '"0.0.0.0:6222"': f'"127.0.0.1:{self.routes}"',
            '"../../data/passwords.conf"': '"passwords.conf"',
            '"/data': f'"{self.folder}',
        }
        given |= {f"nats-route://{one}:6222": f"nats-route://127.0.0.1:{ports[at][2]}" for at, one in enumerate(NODES)}
        for old, new in given.items():
            assert old in text, old
            text = text.replace(old, new)
        assert not re.search(r"0\.0\.0\.0|/data/", text)
        self.config = self.folder / "nats.conf"
        self.config.write_text(text)
        self.start()

    def is_healthy(self) -> bool:
        """Ask as the health check of the profile does."""
        try:
            with urlopen(f"http://127.0.0.1:{self.monitor}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class Cluster:
    """Three nodes, and what the other machines have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        while not self.nodes:
            ports = [(free_port(), free_port(), free_port()) for _ in NODES]
            with ExitStack() as stack, suppress(PortTakenError):
                self.nodes = [stack.enter_context(Node(folder, name, ports)) for name in NODES]
                stack.pop_all()

    def urls(self, machine: str) -> tuple[str, ...]:
        """Return the addresses of the broker in the `.env` of a machine, on loopback."""
        found = settings_of(self.folder, machine)["TICKLINE_NATS_URL"]
        for name, node in zip(NODES, self.nodes, strict=True):
            assert f"@{name}:4222" in found
            found = found.replace(f"@{name}:4222", f"@127.0.0.1:{node.port}")
        return tuple(found.split(","))

    def authority(self, machine: str) -> Path:
        return self.folder / machine / "tls" / "authority.pem"

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
