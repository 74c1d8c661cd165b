"""What `ingest/deploy/` gives to Prometheus, Grafana and the machines of a cluster: valid, and about what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.database.connections import Database
from ingest.database.settings import setting_names
from ingest.live.access import JOURNAL_TOKEN_FILE, stored_token
from ingest.live.distributed.serving import broker_of, server_tls
from ingest.live.distributed.writing import sources_of
from ingest.live.observe.conditions import CONDITIONS
from ingest.settings import Settings, settings
from tests.cluster import COLLECTORS, MACHINES, WRITERS, prepared
from tests.conftest import Template
from tests.data import REPOSITORY

DEPLOY = REPOSITORY / "ingest" / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = (PROMETHEUS / "tickline.rules.yml").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", RULES)
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "tickline.json").read_text("utf-8"))
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUESTIONS = [target["rawSql"] for target in TARGETS if "rawSql" in target]
EXPRESSIONS = [target["expr"] for target in TARGETS if "expr" in target]
# Everything that `/metrics` may serve; `test_metrics.py` serves it.
METRICS = "".join(
    (REPOSITORY / "ingest" / "live" / path).read_text(encoding="utf-8")
    for path in ("observe/metrics.py", "distributed/writer_api.py")
)
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=PROMETHEUS, timeout=180
    )
    assert not done.returncode, done.stdout + done.stderr


@needs_promtool
def test_rules_pass_their_unit_tests_and_the_configuration_is_valid() -> None:
    promtool("check", "rules", "tickline.rules.yml")
    promtool("test", "rules", "tickline.rules.test.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(EXPRESSIONS)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(path))


def test_alert_is_tested_and_has_its_section_in_the_runbook() -> None:
    runbook = (
        (REPOSITORY / "ingest" / "README.md").read_text("utf-8").split("\n## Runbook\n", 1)[1].split("\n## ", 1)[0]
    )
    sections = dict(re.findall(r"\n### (\w+)\n\n((?:.+\n)+)", runbook))
    tests = (PROMETHEUS / "tickline.rules.test.yml").read_text(encoding="utf-8")
    assert list(sections) == ALERTS == re.findall(r"runbook: ingest/README.md, section (\w+)", RULES)
    assert all("Means: " in text and re.search(r"\bDo\b|\bdo: ", text) for text in sections.values())
    assert set(re.findall(r"alertname: (\w+)\n        exp_alerts", tests)) == set(ALERTS)


def test_condition_of_health_has_an_alert() -> None:
    without = {"database_away"}  # TicklineDatabaseAway reads the seconds
    assert {one for one in CONDITIONS if not re.search(rf'["|]{one}["|]', RULES)} == without


def test_rules_and_dashboard_ask_for_metrics_that_are_served() -> None:
    asked = set(re.findall(r"tickline_\w+", " ".join([*re.findall(r"expr: (.*)", RULES), *EXPRESSIONS])))
    served = set(re.findall(r'"(tickline_\w+)"', METRICS))
    assert len(asked) > 20
    assert {name for name in asked if re.sub("_(total|bucket|sum|count)$", "", name) not in served} == set()


def test_questions_of_the_dashboard_are_answered_to_a_reader(database: Database, template: Template) -> None:
    assert len(QUESTIONS) > 2
    with database.connect(user=template.superuser) as conn, conn.transaction(force_rollback=True):
        conn.execute("create role somebody")
        conn.execute("grant usage on schema public, tickline to somebody")
        conn.execute("grant select on all tables in schema public, tickline to somebody")
        conn.execute("set role somebody")
        for question in QUESTIONS:
            plain = question.replace("$__timeFrom()", "'2026-11-27'").replace("$__timeTo()", "'2026-11-28'")
            conn.execute(plain).fetchall()


def test_compose_profile_mounts_files_that_exist_and_listens_on_loopback_only() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    above = text.split("\nvolumes:\n")[0]
    services = dict(re.findall(r"^  ([\w-]+):\n((?:    .*\n|\n)*)", above, re.MULTILINE))
    observe = {name for name, body in services.items() if "profiles: [observe]" in body}
    assert observe == {"observe-data", "prometheus", "grafana"}
    mounted = re.findall(r"- (\./\S+?):(\S+?):ro", text)
    assert mounted and all((REPOSITORY / path).is_dir() for path, _ in mounted)
    assert all(port.startswith("127.0.0.1:") for port in re.findall(r'- "([\d.:]+)"', text))
    images = re.findall(r"image: (\S+)", "".join(services[name] for name in sorted(observe - {"observe-data"})))
    assert len(images) == 2 and all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)


COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
CLUSTER = {name: service for name, service in SERVICES.items() if service.get("profiles") == ["cluster"]}


def below(name: str) -> set[str]:
    """The services that start with one: itself and all that it depends on."""
    return {name}.union(*(below(other) for other in SERVICES[name].get("depends_on", {})))


def volumes_of(name: str) -> dict[str, str]:
    """Named volume -> where a service mounts it."""
    mounts = [mount.split(":") for mount in SERVICES[name].get("volumes", [])]
    return {source: place for source, place, *_ in mounts if not source.startswith("./")}


def test_cluster_starts_with_its_reader_without_the_ingester_of_one_machine() -> None:
    machines = {"cluster-files", *MACHINES, "replication", "replica"}
    assert set(CLUSTER) == machines
    assert below("reader") == machines | {"timescaledb", "upgrade"}
    for name, service in CLUSTER.items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
        assert ":" in service["image"] or service["image"] == "tickline"
        is_once = name in {"cluster-files", "replication"}
        assert ("restart" in service) != is_once
        assert is_once or name == "reader" or {"test", "interval", "retries"} <= set(service["healthcheck"]), name
        assert is_once or name == "reader" or "stop_grace_period" in service, name
    assert [name for name, service in CLUSTER.items() if "ports" in service] == ["reader"]


def test_machines_of_the_cluster_share_no_volume_and_each_key_is_in_one() -> None:
    assert set().union(*(volumes_of(name) for name in SERVICES)) <= set(COMPOSE["volumes"])
    users: dict[str, list[str]] = {}
    for name in sorted(set(CLUSTER) - {"cluster-files", "replication"}):
        for volume in volumes_of(name):
            users.setdefault(volume, []).append(name)
    assert users == {name: [name] for name in (*MACHINES, "replica")}
    assert volumes_of("cluster-files") == {name: f"/cluster/{name}" for name in ("authority", *MACHINES)}
    assert volumes_of("replication") == {"timescaledb": volumes_of("timescaledb")["timescaledb"], "replica": "/replica"}


def test_cluster_needs_no_password_but_those_of_the_database_and_gives_collectors_none() -> None:
    # Compose asks for these values whatever the profile is.
    assert set(re.findall(r"\$\{(\w+)", yaml.safe_dump(CLUSTER))) == {
        "POSTGRES_PASSWORD",
        "TICKLINE_WRITER_PASSWORD",
        "TICKLINE_READER_PASSWORD",
    }
    known = {name for field in Settings.model_fields for name in setting_names(Settings, field)}
    for name, service in CLUSTER.items():
        given = service.get("environment", {})
        assert {one for one in given if one.startswith("TICKLINE_")} <= known, name
        assert not any(re.search(r"://[^/]*@|password=", str(value)) for value in given.values())
        if name in COLLECTORS:
            assert "env_file" not in service and not re.search("PASSWORD|DATABASE", " ".join(given))


def test_commands_of_the_cluster_are_taken_with_what_its_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)

    def settings_in(name: str) -> Settings:
        """The settings of a service, as it reads them; /data is its folder here."""
        service, place = SERVICES[name], tmp_path / name
        monkeypatch.chdir(place)
        text = {key: str(value).replace("/data", str(place)) for key, value in service["environment"].items()}
        for key, value in text.items():
            if key.startswith("TICKLINE_") and "_PASSWORD" not in key:
                monkeypatch.setenv(key, value)
        return settings()

    for name in WRITERS:
        config, (_, *words) = settings_in(name), SERVICES[name]["command"]
        assert words[0] == "write"
        found = sources_of(words[1:], config)
        assert [one.name for one in found] == [f"nats:{one}" for one in COLLECTORS]
        healers: list[Any] = [vars(one)["_healer"] for one in found]
        assert [one.name for one in healers] == [f"https://{one}:8791" for one in COLLECTORS]
        token = config.collector_token.get_secret_value() if config.collector_token else None
    for name in COLLECTORS:
        config = settings_in(name)
        assert (config.collector, config.journal_host, config.nats_replicas) == (name, "0.0.0.0", 3)
        assert server_tls(config.journal_tls_certificate, config.journal_tls_key) is not None
        assert broker_of(config).login()["user"] == name
        assert stored_token(config.home, JOURNAL_TOKEN_FILE) == token
    image = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "extras['page'], *extras['nats']" in image
