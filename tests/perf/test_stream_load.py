"""What clients of the event stream cost the recording, at the largest feed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ingest.bench import latency
from ingest.bench.processes import Ingester
from tests.perf.stream_clients import CLIENTS

RATE, SECONDS, WARM_UP_S, INSTRUMENTS = 10_000, 25, 5.0, 2_000
SLOWER_MS, LARGER_MB = 2.0, 20.0


@pytest.mark.bench
def test_twenty_clients_cost_the_recording_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, said = tmp_path / "counts", {}

    class WithClients(Ingester):
        def __enter__(self) -> Any:
            started = super().__enter__()
            (tmp_path / "keys").write_text(json.dumps(list(self._keys)))
            port = self._environment["TICKLINE_API_PORT"]
            self._url = f"http://127.0.0.1:{port}/api/v1/websocket/status"
            arguments = [port, str(tmp_path / "keys"), str(counts)]
            self._clients = subprocess.Popen([sys.executable, "-m", "tests.perf.stream_clients", *arguments])
            return started

        def memory_mb(self) -> float:
            said.update(json.load(urllib.request.urlopen(self._url))["stream"])
            return super().memory_mb()

        def __exit__(self, *exc: object) -> None:
            self._clients.kill()
            self._clients.wait()
            super().__exit__(*exc)

    market = latency.make_paced_market(tmp_path / "market", rate=RATE, seconds=SECONDS, instruments=INSTRUMENTS)

    def measured() -> tuple[float, float, float]:
        run = latency._run("timescale", market, RATE, WARM_UP_S, with_handler=False)  # every tick is there once
        counted = latency._counted(run.due_ns, WARM_UP_S)
        found = latency.Latency.of(run.committed_us[counted] - run.received_us[counted], run.ticks[counted])
        return found.p99_ms, run.memory_mb, run.ingester_cpu_percent

    alone = measured()
    monkeypatch.setattr(latency, "Ingester", WithClients)
    heard = measured()
    print(f"p99 ms, MB, CPU %: alone {alone}, with {CLIENTS} clients {heard}; {counts.read_text()}; {said}")
    assert said["clients"] == CLIENTS - 1 and said["clients_cut_off"] == 1  # the one that does not read
    read = json.loads(counts.read_text())
    assert read["bytes"] > 0 and read["missed"] == read["ended"] == 0
    assert heard[0] <= alone[0] + SLOWER_MS and heard[1] <= alone[1] + LARGER_MB
