"""What happens to a desk of collectors and writers: each event returns when it has happened, or lasts meanwhile.

Events look for a sign that they met something: a process that ran, an answer that was mangled, a line in a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ingest.store.lease import SILENT_S
from tests.clock import COMPILER
from tests.fault.desk import COLLECTORS, WRITERS, Desk, clock_steps_s
from tests.fault.disks import fill
from tests.fault.harness import rows

AHEAD_S = 300  # of clocks that are wrong
FULL, AGAIN = "journal cannot be written", "journal can be written again"
AnyDesk = TypeVar("AnyDesk", bound=Desk)
Event = Callable[[Desk], None]


def kill_a_collector(desk: Desk) -> None:
    name = desk.rng.choice(COLLECTORS)
    desk.kill(name)
    desk.collect(name)


def kill_a_writer(desk: Desk) -> None:
    name = desk.rng.choice([name for name in WRITERS if name != desk.frozen])
    desk.kill(name)
    desk.write(name)


def freeze_a_writer(desk: Desk) -> None:
    """A zombie: frozen past its lease, and woken while another writes its collectors."""
    desk.until(lambda: not desk.frozen)
    desk.until(lambda: any(map(desk.written_by, WRITERS)))
    name = desk.rng.choice([name for name in WRITERS if desk.written_by(name)])
    frozen, taken = desk.commands[name], desk.written_by(name)
    frozen.freeze()
    desk.frozen = name
    at = time.time()

    def others_write() -> bool:
        if time.time() < at + SILENT_S + 0.5:
            return False
        committed = desk.committed_at()
        return all(committed.get(collector, 0) > at + SILENT_S for collector in taken)

    def wake() -> None:
        assert frozen.process.poll() is None
        frozen.thaw()
        desk.frozen = ""

    desk.later(others_write, wake)


def set_a_clock(desk: Desk) -> None:
    """The machine of a collector is minutes ahead or behind from now on, or no longer."""
    name = desk.rng.choice(COLLECTORS)
    desk.ahead_s[name] = desk.rng.choice([one for one in (-AHEAD_S, 0, AHEAD_S) if one != desk.ahead_s[name]])
    desk.kill(name)
    desk.collect(name)
    desk.until_recording(name)


def fill_a_disk(desk: Desk) -> None:
    name = desk.rng.choice(COLLECTORS)
    desk.until_recording(name)
    command, ballast = desk.commands[name], desk.home / name / "journal" / "ballast"
    full, again = (command.text().count(text) for text in (FULL, AGAIN))
    fill(ballast)
    desk.until(lambda: command.text().count(FULL) > full)
    time.sleep(desk.rng.uniform(0, 0.3))
    ballast.unlink()
    desk.until(lambda: command.text().count(AGAIN) > again)


def mangle_answers(desk: Desk) -> None:
    before = sum(mangler.mangled for mangler in desk.manglers.values())
    for mangler in desk.manglers.values():
        mangler.share = 0.15
    desk.until(lambda: sum(mangler.mangled for mangler in desk.manglers.values()) > before)
    desk.until_more_ticks()
    for mangler in desk.manglers.values():
        mangler.share = 0.0


def part_a_collector(desk: Desk) -> None:
    mangler = desk.manglers[desk.rng.choice(COLLECTORS)]
    mangler.is_away = True
    mangler.cut()
    time.sleep(desk.rng.uniform(0, 0.3))
    mangler.is_away = False


def cut_the_database(desk: Desk) -> None:
    desk.until(lambda: desk.proxy.cut(tells_server=desk.rng.random() < 0.7))


def cut_a_commit(desk: Desk) -> None:
    trap = desk.proxy.cut_before_commit() if desk.rng.random() < 0.5 else desk.proxy.cut_after_commit()
    desk.until(trap.is_set)


def hold_the_database(desk: Desk) -> None:
    desk.proxy.pause()
    time.sleep(desk.rng.uniform(0.1, 0.5))
    desk.proxy.resume()


DEAR: tuple[Event, ...] = (kill_a_collector, kill_a_writer, freeze_a_writer, set_a_clock)
CHEAP: tuple[Event, ...] = (
    mangle_answers,
    part_a_collector,
    cut_the_database,
    cut_a_commit,
    hold_the_database,
    fill_a_disk,
)


def possible(desk: Desk, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return those events that can happen on this machine."""
    impossible = {fill_a_disk: bool(desk.no_disk), set_a_clock: COMPILER is None}
    return tuple(event for event in events if not impossible.get(event))


def let_happen(
    desk: AnyDesk,
    count: int,
    *,
    others: tuple[Callable[[AnyDesk], None], ...] = (),
    long: tuple[Callable[[AnyDesk], None], ...] = (),
) -> None:
    """Let so many random events happen, each kind at least once.

    `long` last for a while, and are one in fifty; while one lasts, those come first that do not wait for its end. Half
    of the rest are of `others`, if there are any, and two in five of what is left start a process or wait for a lease.
    """
    dear, cheap = possible(desk, DEAR), possible(desk, CHEAP)
    found: list[Callable[[AnyDesk], None]] = [*others, *dear, *cheap]
    found += [event for event in long for _ in range(max(count // 50, 1))]
    assert len(found) <= count
    while len(found) < count:
        kinds = others if others and desk.rng.random() < 0.5 else dear if desk.rng.random() < 0.4 else cheap
        found.append(desk.rng.choice(kinds))
    desk.rng.shuffle(found)
    kinds_found = {event.__name__ for event in found}
    while found:
        waiting = (*others, *long) if desk.is_suffering else ()
        event = next((event for event in found if event not in waiting), found[0])
        found.remove(event)
        began = time.monotonic()
        event(desk)
        desk.until_more_ticks(1)
        desk.happened[event.__name__] += 1
        print(f"{event.__name__}: {time.monotonic() - began:.1f} s")
    desk.until_all_is_over()
    for collector in COLLECTORS:
        desk.until_recording(collector)
    assert set(desk.happened) == kinds_found


def check_clocks(desk: Desk) -> None:
    """Hold what the journals say of the time against the clocks that were set."""
    steps = [step for step in clock_steps_s(desk) if abs(step) > AHEAD_S / 2]
    assert bool(steps) == bool(desk.happened["set_a_clock"])
    assert rows(desk.database, "select count(distinct collector) from tickline.ledger") == [(2,)]
