"""How `make test` spreads tests over its workers (pytest-xdist).

A worker takes the tests of one file on one engine, so that tests of a module share its fixtures.
Fault tests start processes of their own: only some workers run them at a time, the others have the rest.
Long files begin first: the last one would otherwise run alone while the other workers have nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

FAULT_WORKERS_MAX = 3  # with more, a condition that a test waits for comes late on two cores
# The files that take longest, longest first; both engines of a file. The order of the others does not matter.
LONG = [
    "tests/fault/test_connection_life.py",
    "tests/fault/test_database_away.py",
    "tests/fault/test_graceful_stop.py",
    "tests/fault/test_write_broker.py",
    "tests/fault/test_start_without_database.py",
    "tests/fault/test_standby.py",
    "tests/fault/test_season.py",
    "tests/fault/test_journal_damage.py",
    "tests/fault/test_write.py",
    "tests/fault/test_planted_spikes.py",
    "tests/fault/test_sigkill.py",
    "tests/db/test_documents.py",
    "tests/db/test_signals.py",
    "tests/db/test_retention.py",
    "tests/db/test_bars_in_sql.py",
    "tests/unit/analytics/evaluation/test_history.py",
    "tests/db/test_replay.py",
    "tests/db/test_page.py",
    "tests/db/test_cli.py",
    "tests/db/test_bench.py",
    "tests/db/test_schema.py",
    "tests/db/test_embedded.py",
    "tests/db/test_embedded_odd.py",
    "tests/db/test_ledger_rows.py",
]


def scope_of(nodeid: str) -> str:
    """Return the file of a test, and its engine if that is not the first."""
    path, _, test = nodeid.partition("::")
    return f"{path}@timescale" if "timescale" in test.partition("[")[2] else path


class Spread(LoadScopeScheduling):
    """Give each worker the tests of one file and engine at a time, fault tests and long files first."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        has_room = self._fault_workers < FAULT_WORKERS_MAX
        scope = min(self.workqueue, key=lambda scope: (_is_fault(scope) != has_room, _place(scope)))
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    @property
    def _fault_workers(self) -> int:
        units = [units.items() for units in self.assigned_work.values()]
        return sum(any(_is_fault(scope) and not all(tests.values()) for scope, tests in unit) for unit in units)


def _place(scope: str) -> int:
    path = scope.partition("@")[0]
    return LONG.index(path) if path in LONG else len(LONG)


def _is_fault(scope: str) -> bool:
    return scope.startswith("tests/fault/")
