"""The questions of `sql/samples/`: each is answered to somebody who may only read, and by indexes alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ingest.database.connections import Database
from ingest.database.queries import ROOT
from tests.conftest import Template
from tests.desk import SMALL, furnish

SAMPLES = {f"{path.parent.name}/{path.stem}": path for path in sorted((ROOT / "samples").glob("*/*.sql"))}
# Ticks and bars of both engines, by the name of a partition, a chunk or a table.
LARGE = re.compile(r"ticks(_\d{8})?$|_hyper_\d+_|bars_\dm(_stored)?$|_materialized_hypertable_|compress_hyper")


@pytest.fixture(scope="module")
def desk(template: Template) -> Iterator[Database]:
    """A small desk, with a break of the feed, an instrument that fell silent, and a reader."""
    with template.fresh() as database:
        furnish(database, SMALL)
        with database.connect(autocommit=True) as conn:
            conn.execute(
                "insert into feed_gaps (collector, connection, started_at, ended_at, reason) "
                "select 'default', '1', at, at + interval '3 s', 'no close frame' "
                "from (select last_session() + interval '11 hours' as at) as moment"
            )
            conn.execute(
                "delete from ticks where instrument_id = (select min(instrument_id) from instruments where strike > 0 "
                "and expiry > current_date) and ts > last_session() + interval '12 hours'"
            )
        yield database


def test_there_are_samples_for_everybody() -> None:
    assert len(SAMPLES) >= 20
    assert {name.split("/")[0] for name in SAMPLES} == {"trader", "quant", "sre"}
    assert all(path.read_text().startswith("-- ") for path in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_answered_without_reading_whole_tables(desk: Database, template: Template, name: str) -> None:
    question = SAMPLES[name].read_text()
    plans: list[Any] = []
    with desk.connect(autocommit=True, user=template.superuser) as conn:
        # A small table is read whole because that is cheaper: here only where no index serves.
        for setting in (
            "enable_seqscan = off",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
            "auto_explain.log_format = json",
            "auto_explain.log_level = notice",
            "auto_explain.log_analyze = on",
            "auto_explain.log_timing = off",
        ):
            if setting == "enable_seqscan = off":
                conn.execute("load 'auto_explain'")
            conn.execute(sql.SQL("set ") + sql.SQL(setting))  # type: ignore[arg-type]
        conn.add_notice_handler(lambda said: plans.append(plan_in(said)))
        assert conn.execute(question).fetchall()  # type: ignore[arg-type]
    scanned = {node["Relation Name"] for plan in plans if plan for node in nodes(plan) if is_read_whole(node)}
    assert any(plans)
    assert {relation for relation in scanned if LARGE.search(relation)} == set()


def plan_in(said: psycopg.errors.Diagnostic) -> Any:
    """Return the plan of a message of auto_explain."""
    text = said.message_primary or ""
    return json.loads(text[text.index("{") :])["Plan"] if "plan:" in text else None


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def is_read_whole(node: dict[str, Any]) -> bool:
    """Whether a node that ran reads all of a table."""
    return node["Node Type"] == "Seq Scan" and node["Actual Loops"] > 0


@pytest.mark.parametrize("name", SAMPLES)
def test_reader_may_ask_every_sample(desk: Database, template: Template, name: str) -> None:
    with desk.connect(autocommit=True, user=template.superuser) as conn, conn.transaction(force_rollback=True):
        conn.execute("create role somebody")
        conn.execute("grant usage on schema public, tickline to somebody")
        conn.execute("grant select on all tables in schema public, tickline to somebody")
        conn.execute("set role somebody")
        conn.execute(SAMPLES[name].read_text())  # type: ignore[arg-type]
