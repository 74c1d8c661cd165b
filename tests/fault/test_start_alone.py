"""`start` without what it would like to have: a token that is taken, a vendor that answers, an instrument master."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.database.connections import Database
from tests.engines import on_one_engine
from tests.fault.harness import QUICK, WITHIN_S, Command, Market, rows, wait_until
from tests.simulated import NOWHERE


@pytest.fixture
def market(home: Path) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "20", "--rate", "400") as market:
        yield market


def started(home: Path, market: Market, database: Database, *arguments: str, **environment: str) -> Command:
    place = {"TICKLINE_HOME": str(home), "TICKLINE_DATABASE_URL": database.url}
    return Command(home, "start", *arguments, **(QUICK | market.settings | place | environment))


REFUSED = {
    "one": ("UPSTOX_ACCESS_TOKEN", "another-token", "access token refused (401"),
    "two": ("UPSTOX_API_URL", NOWHERE, "cannot reach"),
}


@on_one_engine
def test_start_for_a_time_in_which_nothing_could_be_connected_fails_in_one_line(
    database: Database, home: Path, market: Market
) -> None:
    with ExitStack() as stack:
        commands = {
            collector: stack.enter_context(
                started(
                    *(home / collector, market, database, "--for", "8", market.keys[0]),
                    **{name: value, "TICKLINE_COLLECTOR": collector},
                )
            )
            for collector, (name, value, _) in REFUSED.items()
        }
        for collector, (_, _, reason) in REFUSED.items():
            assert commands[collector].process.wait(timeout=WITHIN_S) == 1
            [said] = [line for line in commands[collector].text().splitlines() if line.startswith("tickline: ")]
            assert "nothing was recorded" in said and reason in said
    assert rows(database, "select count(*) from tickline.ledger") == [(0,)]


@on_one_engine
def test_start_of_a_key_needs_no_list_and_the_instrument_is_named_when_there_is_one(
    database: Database, home: Path, market: Market
) -> None:
    key = next(key for key in market.keys if key.startswith("NSE_FO|"))
    with started(home, market, database, key, "NOSUCH", UPSTOX_ASSETS_URL=NOWHERE) as command:
        wait_until(lambda: rows(database, "select from ticks limit 1"))
        command.stop()
        assert f"no instrument master has key '{key}'" in command.text()
        assert "name skipped: unknown instrument 'NOSUCH'" in command.text()
    recorded = (
        "select instrument_key, trading_symbol is not null, count(*) > 0 from ticks join instruments"
        " using (instrument_id) group by 1, 2"
    )
    assert rows(database, recorded) == [(key, False, True)]
    with Command(home, "universe", "refresh", TICKLINE_DATABASE_URL=database.url, **market.settings) as command:
        assert command.process.wait(timeout=WITHIN_S) == 0, command.text()
    assert rows(database, recorded) == [(key, True, True)]
