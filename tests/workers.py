"""How `make test` spreads tests over its workers (pytest-xdist).

A worker takes the tests of one file on one engine, so that tests of a module share its fixtures.
Fault tests start processes of their own: only some workers run them at a time, the others have the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

FAULT_WORKERS_MAX = 3  # with more, a condition that a test waits for comes late on two cores


def scope_of(nodeid: str) -> str:
    """Return the file of a test, and its engine if that is not the first."""
    path, _, test = nodeid.partition("::")
    return f"{path}@timescale" if "timescale" in test.partition("[")[2] else path


class Spread(LoadScopeScheduling):
    """Give each worker the tests of one file and engine at a time, fault tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        has_room = self._fault_workers < FAULT_WORKERS_MAX
        scope = next((scope for scope in self.workqueue if _is_fault(scope) == has_room), next(iter(self.workqueue)))
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    @property
    def _fault_workers(self) -> int:
        units = [units.items() for units in self.assigned_work.values()]
        return sum(any(_is_fault(scope) and not all(tests.values()) for scope, tests in unit) for unit in units)


def _is_fault(scope: str) -> bool:
    return scope.startswith("tests/fault/")
