"""A bad day: `tickline simulate` with all of its faults, and a `tickline start` that records through it."""

from __future__ import annotations

from pathlib import Path

from ingest.cli.trial.fault_options import FAULTS
from ingest.database.connections import Database
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import Ingester, Market, check_account, check_ticks, committed, rows, wait_until

MUTED = "NSE_FO|35000"
# Times in seconds; what is given several times is parted by blanks. What must meet a connection comes again and again,
# because a busy machine connects late.
BAD_DAY = {
    "--odd-rows": "15",
    "--odd-status-every": "0.4",
    "--mute": f"{MUTED}@0",
    "--busy-every": "2",
    "--poison-every": "6@0.3+1.2 6@4.5",
    "--truncate-every": "7@0.3+1.2 7@4.5",
    "--crowd-every": "60@0.3+1.2",
    "--text-every": "40@0.5+1.0 40@4.5",
    "--huge-every": "70@0.5+1.0",
    "--repeat-every": "9@0.5+1.0 9@4.5",
    "--swap-every": "11@0.5+1.0 11@4.5",
    "--skip-every": "2@0.8+0.7",
    "--clock-off": "-6@1.0+0.5",
    "--close": " ".join(f"1011@{at}" for at in (1.7, 5.2, 5.7, 6.2, *range(8, 120, 3))),
    "--refuse": " ".join(f"429@{at}+0.6" for at in (2.2, *range(7, 120, 6))),
    "--drop-every": "2.3",
    "--drop-random": "3",
    "--token-expires": "3.6",
}
SAID_BY_MARKET = (
    "connections cut", "connections closed with 1011", "refuse 429", "refuse off", "token expired",
    "odd market_info sent", "true market_info sent", "poison_every 6", "poison_every off", "clock_off_s -6.0",
)  # fmt: skip
SAID_BY_START = (
    "15 odd rows left out", "feed text message ignored", "(1011", "(429", "no close frame",
    "feed waits for a new token",
)  # fmt: skip


# What was poisonous, cut short or a crowd has cost itself, and a gap is known by its end.
MET = """
    select coalesce(sum(rejected) > 0 and sum(quarantined) > 0, false)
        and exists (select from feed_gaps where reason = 'no close frame') from tickline.ledger
"""


@on_one_engine
def test_start_records_through_a_bad_day_and_says_what_happened(
    database: Database, template: Template, home: Path
) -> None:
    assert BAD_DAY.keys() == {fault.name for fault in FAULTS}
    options = [f"{name}={value}" for name, values in BAD_DAY.items() for value in values.split()]
    arguments = ["--generate", "--instruments", "20", "--rate", "400", "--speed", "20", "--seed", "3", *options]
    with Market(home / "m", *arguments) as market:
        token = market.settings.pop("UPSTOX_ACCESS_TOKEN")
        (home / ".env").write_text(f"UPSTOX_ACCESS_TOKEN={token}\n")
        environment = {"TICKLINE_TOKEN_POLL_S": "0.05", "TICKLINE_CONFIRM_S": "0.5", "TICKLINE_BACKFILL_S": "0.5"}
        with Ingester(home, market, database.url, **environment) as ingester:
            market.wait_for("token expired")
            ingester.wait_for("feed waits for a new token")
            (home / ".env").write_text(f"UPSTOX_ACCESS_TOKEN={token}-2\n")
            before = committed(database)
            wait_until(lambda: committed(database) > before)
            for command, texts in ((market, SAID_BY_MARKET), (ingester, SAID_BY_START)):
                for text in texts:
                    command.wait_for(text)
            wait_until(lambda: rows(database, MET) == [(True,)])
            ingester.stop()
            said = ingester.text()
    assert "Traceback" not in said
    assert check_account(database, ingester.folder) == check_ticks(database, template, home)
    # The key that was muted alone has no ticks.
    silent = rows(
        database,
        "select instrument_key from instruments where segment <> 'ODD'"
        " and not exists (select from ticks where ticks.instrument_id = instruments.instrument_id)",
    )
    assert (MUTED,) in silent
