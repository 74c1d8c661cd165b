"""What `ingest/deploy/` gives to Prometheus and Grafana: valid, and about what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.live.observe.conditions import CONDITIONS
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
METRICS = (REPOSITORY / "ingest" / "live" / "observe" / "metrics.py").read_text(encoding="utf-8")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=PROMETHEUS, timeout=60
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
