"""How long questions take on a desk of 30 days x 200 and one day x 2,000 instruments: `make bench`."""

from __future__ import annotations

import time
from statistics import median

import pytest

from ingest.database.connections import Database
from tests.db.test_samples import SAMPLES
from tests.desk import FULL, furnish

RUNS = 5
ONE_MS, MINUTE_MS, DAY_MS = 50, 150, 2_000  # of one instrument; of all in some minutes; of all on a day
LIMITS_MS = {
    "quant/one_minute_of_all": MINUTE_MS,
    "trader/top_movers": MINUTE_MS,
    "trader/opening_gaps": DAY_MS,
    "sre/quality_of_a_day": DAY_MS,
}
LAST_TICK = "select ltp from latest_ticks where instrument_id = 5"
LAST_TICK_MS = 5


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_questions_are_answered_in_time(database: Database) -> None:
    furnish(database, FULL)
    questions = {name: path.read_text() for name, path in SAMPLES.items()} | {"the last tick of one": LAST_TICK}
    limits = LIMITS_MS | {"the last tick of one": LAST_TICK_MS}
    slow = []
    print()
    with database.connect(autocommit=True) as conn:
        for name, question in questions.items():
            took = []
            for _ in range(RUNS + 1):  # the first one fills the caches
                began = time.perf_counter()
                rows = conn.execute(question).fetchall()  # type: ignore[arg-type]
                took.append(1000 * (time.perf_counter() - began))
            middle = median(took[1:])
            spread = f"{min(took[1:]):.1f}..{max(took[1:]):.1f}"
            print(f"{database.engine}: {name}: {middle:.1f} ms ({spread}), {len(rows)} rows")
            if middle >= limits.get(name, ONE_MS):
                slow.append(name)
    assert slow == []
