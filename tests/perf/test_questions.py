"""How long questions take on a desk of 30 days x 200 and one day x 2,000 instruments: `make bench`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import pytest

from ingest.bench.figures import Row
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
    "the last tick of one instrument": 5,
}
MORE = {
    "the last tick of one instrument": "select ltp from latest_ticks where instrument_id = 5",
    "best bars of a day, all instruments": (
        "select count(close), sum(volume) from bars(null::integer[], '1m', last_session())"
    ),
    "the same from the view": "select count(close), sum(volume) from best_bars_1m where bucket >= last_session()",
}
LIMITS_MS |= dict.fromkeys(("best bars of a day, all instruments", "the same from the view"), DAY_MS)


@dataclass(frozen=True, slots=True)
class Answer:
    """How long a question took, in milliseconds."""

    name: str
    rows: int
    took_ms: list[float]

    @property
    def median_ms(self) -> float:
        """The time of the middle run."""
        return median(self.took_ms)

    def row(self, engine: str) -> Row:
        """Return it as a row of a table."""
        return {
            "engine": engine,
            "question": self.name,
            "rows": f"{self.rows:,}",
            "ms": f"{self.median_ms:.1f} ({min(self.took_ms):.1f}..{max(self.took_ms):.1f})",
            "aim, ms": f"{limit_ms(self.name):,}",
        }


def limit_ms(name: str) -> int:
    """Return the time that a question may take."""
    return LIMITS_MS.get(name, ONE_MS)


def answers(database: Database) -> list[Answer]:
    """Ask each question of a full desk, several times after a first one that fills the caches."""
    furnish(database, FULL)
    questions = {name: path.read_text() for name, path in SAMPLES.items()} | MORE
    found = []
    with database.connect(autocommit=True) as conn:
        for name, question in questions.items():
            took_ms = []
            for _ in range(RUNS + 1):
                began = time.perf_counter()
                rows = conn.execute(question).fetchall()  # type: ignore[arg-type]
                took_ms.append(1000 * (time.perf_counter() - began))
            found.append(Answer(name, len(rows), took_ms[1:]))
    return found


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_questions_are_answered_in_time(database: Database) -> None:
    found = answers(database)
    print()
    for answer in found:
        print("  ".join(answer.row(database.engine).values()))
    assert [answer.name for answer in found if answer.median_ms >= limit_ms(answer.name)] == []
