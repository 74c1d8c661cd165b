"""What a service manager hears of `start`: a real datagram socket, as systemd has it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.live.observe.service_manager import tell, watchdog_s
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.live import running, until

UNIT = REPOSITORY / "ingest" / "deploy" / "tickline.service"
WATCHDOG_S = 0.3


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The service manager's socket, and the environment that it gives its service."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield listening


def messages(listening: socket.socket) -> list[list[str]]:
    found = []
    while True:
        try:
            found.append(listening.recv(2**16).decode().splitlines())
        except BlockingIOError:
            return found


@on_one_engine
def test_service_manager_hears_that_it_is_ready_what_it_does_and_that_it_stops(
    database: Database, home: Path, heard: socket.socket
) -> None:
    said: list[list[str]] = []

    def has_said(text: str) -> bool:
        said.extend(messages(heard))
        return any(text in line for one in said for line in one)

    async def run() -> None:
        async with running(database, home, feed_silent_s=0.3) as run:
            await until(lambda: has_said("WATCHDOG=1"))
            assert said[0][0] == "READY=1" and not any("READY=1" in one for one in said[1:])
            await run.live()
            await until(lambda: has_said("STATUS=healthy: 60 keys, "))
            await until(lambda: run.ingestion.watchdog.rate(run.ingestion.streams[0].feed) > 0)
            run.simulator.faults.mute = set(run.simulator.source.keys)
            await until(lambda: has_said("connection 1 is silent"))
            # A loop that is blocked says nothing, and says that it lives again when it is not.
            said.clear()
            messages(heard)
            time.sleep(2 * WATCHDOG_S)  # noqa: ASYNC251
            assert messages(heard) == []
            await until(lambda: has_said("WATCHDOG=1"))
            said.clear()
        assert has_said("STOPPING=1")

    asyncio.run(run())


def test_service_manager_with_an_abstract_address_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0tickline-{os.getpid()}")
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@tickline-{os.getpid()}")
        tell("READY=1", "STATUS=well")
        assert messages(listening) == [["READY=1", "STATUS=well"]]


def test_service_manager_that_is_not_there_costs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for address in ("", "relative", str(tmp_path / "nobody"), "@nobody"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        tell("READY=1")
    for given, pid, expected in (
        ("", "", None),
        ("0", "", None),
        ("x", "", None),
        ("5", "1", None),
        ("500000", "", 0.5),
    ):
        monkeypatch.setenv("WATCHDOG_USEC", given)
        monkeypatch.setenv("WATCHDOG_PID", pid)
        assert watchdog_s() == expected


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "tickline.service"
    program = Path(sys.executable).parent / "tickline"
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/srv/tickline/.venv/bin/tickline", str(program)), encoding="utf-8")
    for arguments in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
        done = subprocess.run(
            ["systemd-analyze", *arguments, str(unit)], capture_output=True, text=True, check=False, timeout=60
        )
        ours = [line for line in done.stderr.splitlines() if "tickline" in line]
        assert not done.returncode and not ours, (arguments, done.stderr, done.stdout[-500:])
