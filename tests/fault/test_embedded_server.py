"""The embedded server is killed under `tickline start`: it comes up again by itself, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ingest.database.connections import Database
from ingest.database.server import postmaster
from ingest.database.settings import DatabaseSettings, Engine, load
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import Ingester, Market, check_account, check_ticks, stream_folder, wait_until

KILLS = 3


@on_one_engine
def test_killed_server_is_started_again_by_the_ingester(template: Template, engine: Engine, home: Path) -> None:
    data = home / "postgres" / "data"
    with Market(home, "--generate", "--instruments", "100", "--rate", "300") as market:
        # An empty URL is none: this server is the ingester's own.
        with Ingester(home, market, "", TICKLINE_ENGINE=engine) as ingester:
            ingester.wait_for("feed connected")
            for _ in range(KILLS):
                pid, back = wait_until(lambda: postmaster.running_pid(data)), ingester.text().count("database is back")
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda back=back: ingester.text().count("database is back") > back)
            ingester.stop()
            text = ingester.text()
        assert text.count("database server died, restarting it") >= KILLS
        assert "Traceback" not in text
    assert postmaster.running_pid(data) is None
    with Database.open(load(DatabaseSettings, home=home, database_url=None, engine=engine)) as database:
        ticks = check_account(database, stream_folder(home))
        assert check_ticks(database, template, home) == ticks > 0
