"""The Compose profile `cluster` as processes on loopback: its commands, environment, certificates, users and nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from ingest.database.connections import Database
from ingest.journal.folder import segment_name, segments_of
from tests.broker import needs_broker
from tests.cluster import COLLECTORS, WRITERS, Cluster, prepared
from tests.conftest import Template
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import QUICK, Command, Market, replayed, rows, ticks_of, wait_until
from tests.simulated import free_port

pytestmark = [needs_broker, pytest.mark.soak, pytest.mark.timeout(600)]
SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


class Machines:
    """The services of the profile that are ours, each in a folder for its volume."""

    def __init__(self, stack: ExitStack, home: Path, database: Database) -> None:
        prepared(home)
        self.home, self.database = home, database
        self.cluster = Cluster(home)
        stack.callback(self.cluster.close)
        wait_until(lambda: all(node.is_healthy() for node in self.cluster.nodes))
        self.market = stack.enter_context(Market(home / "market", "--generate", "--instruments", "24", "--rate", "400"))
        self.ports = {name: free_port() for name in COLLECTORS}
        for name in (*COLLECTORS, *WRITERS):
            path, urls = home / name / ".env", ",".join(self.cluster.urls(name))
            lines = [line for line in path.read_text().splitlines() if not line.startswith("TICKLINE_NATS_URL=")]
            path.write_text("\n".join([*lines, f"TICKLINE_NATS_URL={urls}\n"]))
        self.commands = {name: stack.enter_context(self.start(name)) for name in (*COLLECTORS, *WRITERS)}

    def here(self, text: str, name: str) -> str:
        """Return a value of the Compose file with folders and ports of this machine."""
        for collector, port in self.ports.items():
            text = text.replace(f"https://{collector}:8791", f"https://127.0.0.1:{port}")
        for number, node in enumerate(self.cluster.nodes, 1):
            text = text.replace(f"http://nats-{number}:8222", f"http://127.0.0.1:{node.monitor}")
        return text.replace("/data", str(self.home / name)).replace("0.0.0.0", "127.0.0.1")

    def environment(self, name: str) -> dict[str, str]:
        given = {key: self.here(str(value), name) for key, value in SERVICES[name]["environment"].items()}
        given = {key: value for key, value in given.items() if "PASSWORD" not in key} | self.market.settings
        if name in COLLECTORS:
            return QUICK | given | {"TICKLINE_JOURNAL_PORT": str(self.ports[name])}
        # What `env_file: .env` brings, and this server in place of `timescaledb`.
        wanted = {"TICKLINE_UNIVERSE": ",".join(self.market.keys), "TICKLINE_DATABASE_URL": self.database.url}
        return QUICK | given | wanted

    def start(self, name: str) -> Command:
        words = [self.here(word, name) for word in SERVICES[name]["command"][1:]]
        return Command(self.home / name, *words, **self.environment(name))

    def segments(self, name: str) -> list[Path]:
        return [path for folder in (self.home / name / "journal" / name).glob("[0-9]") for path in segments_of(folder)]

    def ticks_of(self, name: str) -> int:
        statement = f"select coalesce(sum(ticks), 0)::int8 from tickline.ledger where collector = '{name}'"
        return int(rows(self.database, statement)[0][0])

    def is_committed(self, name: str) -> bool:
        newest = self.segments(name)[-1]
        statement = f"select max(offset_end) from tickline.ledger where segment like '%/{segment_name(newest)}'"
        return rows(self.database, statement) == [(newest.stat().st_size,)]


@on_one_engine
def test_page_of_the_profile_opens_without_a_recorder_to_whoever_has_its_password(
    database: Database, home: Path
) -> None:
    prepared(home)
    port, token = free_port(), (home / "reader" / "api-token").read_text().strip()
    service, place = SERVICES["reader"], str(home / "reader")
    given = {name: str(value).replace("/data", place) for name, value in service["environment"].items()}
    given |= dict.fromkeys(("TICKLINE_DATABASE_URL", "TICKLINE_READ_DATABASE_URL"), database.url)
    given |= {"TICKLINE_PAGE_PORT": str(port), "TICKLINE_READER_PASSWORD": ""}

    def status(password: str) -> int:
        login = b64encode(f"anybody:{password}".encode()).decode()
        asked = Request(f"http://127.0.0.1:{port}/", headers={"Authorization": f"Basic {login}"} if password else {})
        try:
            with urlopen(asked, timeout=20) as answer:
                return int(answer.status)
        except HTTPError as exc:
            with exc:
                return exc.code

    with Command(home / "reader", *service["command"][1:], **given) as command:
        command.wait_for("page: http://")
        assert [status(password) for password in ("", "wrong", token)] == [401, 401, 200]
        command.stop()


@on_one_engine
def test_commands_of_the_profile_record_every_tick_once_over_tls(
    database: Database, template: Template, home: Path
) -> None:
    with ExitStack() as stack:
        machines = Machines(stack, home, database)
        for name in COLLECTORS:
            wait_until(lambda: machines.ticks_of(name) > 300)  # noqa: B023  it is called at once
        machines.cluster.nodes[0].kill()
        before = {name: machines.ticks_of(name) for name in COLLECTORS}
        for name in COLLECTORS:
            wait_until(lambda: machines.ticks_of(name) > before[name] + 300)  # noqa: B023
        machines.cluster.nodes[0].start()
        wait_until(machines.cluster.nodes[0].is_healthy)
        sources = [machines.here(word, "writer-1") for word in SERVICES["writer-1"]["command"][2:]]
        asked = subprocess.run(
            [sys.executable, "-m", "ingest.cli", "doctor", "--format", "json"]
            + [word for source in sources for word in ("--collector", source)],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)} | machines.environment("writer-1"),
            cwd=home / "writer-1",
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [one for one in json.loads(asked.stdout) if one["topic"] in {"broker", "collector"}]
        assert [one["state"] for one in lines] == ["ok"] * len(lines), lines
        assert sum("takes the token" in one["text"] for one in lines) == 2
        for name in COLLECTORS:
            machines.commands[name].stop()
        for name in COLLECTORS:
            wait_until(lambda: machines.is_committed(name))  # noqa: B023
        for name in WRITERS:
            machines.commands[name].stop()
        logs = {name: command.text() for name, command in machines.commands.items()}
    for name in COLLECTORS:
        assert f"stream made at the broker stream=TICKLINE-{name} replicas=3" in logs[name]
    for name, text in logs.items():
        assert "broker does not allow" not in text, name
    paths = [path for name in COLLECTORS for path in machines.segments(name)]
    found = ticks_of(database)
    assert sorted(found) == sorted(replayed(template, home, paths)) and len(found) > 1_200
