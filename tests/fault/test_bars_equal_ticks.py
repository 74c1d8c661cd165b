"""Bars hold what ticks hold, to the unit, whatever ended the processes that wrote them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ingest.database.connections import Database
from ingest.database.operations.retention import retain
from ingest.database.pool import run_with_pool
from ingest.journal.folder import segments_of
from ingest.store.bar_refresh import refresh_touched
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S, Command, Ingester, Market, check_bars, rows, wait_until


def not_kept(database: Database) -> list[str]:
    """What `db retain` says of bars; of ticks that are not exported it speaks too."""
    reports = list(retain(database, datetime.now(UTC).date() + timedelta(days=1000), dry_run=True))
    assert reports
    return [text for report in reports for text in report.missing if "bars" in text]


@on_one_engine
def test_bars_equal_ticks_after_a_kill_a_restart_a_stop_of_two_collectors_and_a_replay(
    database: Database, template: Template, home: Path
) -> None:
    """Minutes pass in a second, and each collector has half of the instruments."""

    def ticks() -> int:
        return int(rows(database, "select count(*) from ticks")[0][0])

    def more(count: int) -> None:
        before = ticks()
        wait_until(lambda: ticks() > before + count)

    with Market(home, "--generate", "--instruments", "40", "--rate", "100", "--speed", "60") as market:
        one, other = ({"TICKLINE_UNIVERSE": ",".join(market.keys[half::2])} for half in range(2))
        one |= {"TICKLINE_COLLECTOR": "default"}
        other |= {"TICKLINE_COLLECTOR": "other"}
        with Ingester(home, market, database.url, **other) as beside:
            with Ingester(home, market, database.url, **one) as ingester:
                more(2_000)
                ingester.kill()
            with Ingester(home, market, database.url, **one) as ingester:
                ingester.wait_for("feed connected")
                more(2_000)
                ingester.stop()
            beside.stop()
    volume = check_bars(database)
    assert volume > 0
    run_with_pool(database.url, refresh_touched)
    assert check_bars(database) == volume and not_kept(database) == []
    with Database(template.create("replayed_bars"), None) as replayed:
        segments = [path for name in ("default", "other") for path in segments_of(home / "journal" / name / "1")]
        with Command(home, "replay", *map(str, segments), TICKLINE_DATABASE_URL=replayed.url) as replay:
            assert replay.process.wait(timeout=WITHIN_S) == 0
        assert check_bars(replayed) == volume and not_kept(replayed) == []
    template.drop("replayed_bars")
