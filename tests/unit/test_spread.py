"""How tests are spread over workers, and how their coverage is added up by room."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.coverage_by_room import by_room, share
from tests.data import REPOSITORY
from tests.workers import FAULT_WORKERS_MAX, LONG, Spread, scope_of

NODE_IDS = [
    *(f"tests/fault/test_{name}.py::test_it[{engine}]" for name in "abcd" for engine in ("postgres", "timescale")),
    *(f"tests/unit/test_{name}.py::test_it" for name in "efghijklmnop"),
    *(f"{LONG[-1]}::test_it[{engine}]" for engine in ("postgres", "timescale")),
    f"{LONG[0]}::test_it",
]


class Worker:
    """Takes tests as a worker of pytest-xdist does, and remembers them."""

    def __init__(self, number: int) -> None:
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.taken: list[str] = []
        self.done = 0
        self.shutting_down = False

    @property
    def is_at_fault(self) -> bool:
        """Tell whether the test that it runs is a fault test."""
        return self.done < len(self.taken) and self.taken[self.done].startswith("tests/fault/")

    def send_runtest_some(self, indices: list[int]) -> None:
        self.taken += [NODE_IDS[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True


def test_scope_is_the_file_and_the_engine() -> None:
    assert scope_of("tests/db/test_x.py::test_a[postgres-1]") == "tests/db/test_x.py"
    assert scope_of("tests/db/test_x.py::test_a[1-timescale]") == "tests/db/test_x.py@timescale"
    assert scope_of("tests/unit/test_timescale.py::test_timescale") == "tests/unit/test_timescale.py"


def test_fault_tests_come_first_and_only_some_workers_have_them() -> None:
    option = SimpleNamespace(loadscopereorder=False)
    spread = Spread(SimpleNamespace(getvalue=lambda _: ["5*popen"], option=option))  # type: ignore[arg-type]
    workers: list[Any] = [Worker(number) for number in range(5)]
    for worker in workers:
        spread.add_node(worker)
        spread.add_node_collection(worker, NODE_IDS)
    spread.schedule()
    assert sum(worker.is_at_fault for worker in workers) == FAULT_WORKERS_MAX
    assert workers[0].taken[0].startswith(LONG[0])
    assert {worker.taken[0] for worker in workers[FAULT_WORKERS_MAX:]} == set(NODE_IDS[-3:-1])
    while spread.workqueue:
        for worker in workers:
            spread.mark_test_complete(worker, NODE_IDS.index(worker.taken[worker.done]))
            worker.done += 1
            others_wait = any(scope.startswith("tests/unit/") for scope in spread.workqueue)
            assert sum(worker.is_at_fault for worker in workers) <= FAULT_WORKERS_MAX or not others_wait
    assert sorted(test for worker in workers for test in worker.taken) == sorted(NODE_IDS)


def test_long_files_are_there() -> None:
    assert [path for path in LONG if not (REPOSITORY / path).is_file()] == []


def test_coverage_is_added_up_by_room_and_in_all() -> None:
    def summary(lines: int, covered: int) -> dict[str, int]:
        return {"num_statements": lines, "covered_lines": covered, "num_branches": 2, "covered_branches": 1}

    rooms = by_room(
        {
            "ingest/feed/a.py": summary(10, 5),
            "ingest/feed/b/c.py": summary(10, 10),
            "ingest/errors.py": summary(3, 3),
        }
    )
    assert {name: (room["num_statements"], room["covered_lines"]) for name, room in rooms.items()} == {
        "ingest": (3, 3),
        "ingest/feed": (20, 15),
        "total": (23, 18),
    }
    assert share(199, 200) == "99 %" and share(0, 0) == "-"
