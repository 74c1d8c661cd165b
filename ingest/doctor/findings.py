"""Findings: the lines of an examination, and how checks are run. Must not know what is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ingest.doctor.installation import Installation, NoDatabaseYetError, NotCheckedError
from ingest.errors import TicklineError
from ingest.worker_thread import in_background

TEXT_CHARS_MAX = 500  # of a bug in a check
SKEW_S = 2.0  # clocks may differ by this: HTTP dates are whole seconds
BUSY = "see whether disk, network and database are busy or hang"


class State(StrEnum):
    """What a finding means."""

    OK = "ok"
    WARNING = "warning"  # works, or not yet, or cannot be told
    FAILURE = "failure"  # recording does not work, or will not


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the topic, its state, what was found, and what to do; `remedy` is "" if there is nothing to do."""

    topic: str
    state: State
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values, as JSON wants them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one topic, and the seconds after which it has failed; all begin together."""

    topic: str
    run: Callable[[Installation], Iterable[tuple[State, str, str]]]
    within_s: float = 10.0


def fine(text: str) -> tuple[State, str, str]:
    """Return a result with nothing to do."""
    return State.OK, text, ""


def warning(text: str, remedy: str = "") -> tuple[State, str, str]:
    """Return a result that somebody should look at."""
    return State.WARNING, text, remedy


def failure(text: str, remedy: str = "") -> tuple[State, str, str]:
    """Return a result that keeps recording from working."""
    return State.FAILURE, text, remedy


def of_clock(who: str, ahead_s: float, whose: str, remedy: str, *, s_max: float) -> tuple[State, str, str]:
    """Return what a difference between two clocks means, seconds; above `s_max` recording does not work."""
    if abs(ahead_s) <= SKEW_S:
        return fine(f"{who}within {SKEW_S:g} s of {whose}")
    said = f"{who}{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} {whose}"
    return failure(said, remedy) if abs(ahead_s) > s_max else warning(said, remedy)


def examine(installation: Installation, checks: Sequence[Check]) -> Iterator[Finding]:
    """Run all checks at once, each on a thread of its own; yield their findings in the order of the checks.

    A check that raises, or takes too long, is a failure; one that cannot be made is a warning.
    """
    began = time.monotonic()
    running = [(check, in_background(f"doctor {check.topic}", _listed, check, installation)) for check in checks]
    for check, future in running:
        try:
            yield from future.result(max(began + check.within_s - time.monotonic(), 0.0))
        except TimeoutError:
            text = f"no answer within {check.within_s:g} s"
            yield Finding(check.topic, State.FAILURE, text, BUSY)


def _listed(check: Check, installation: Installation) -> list[Finding]:
    found: list[Finding] = []
    try:
        for state, text, remedy in check.run(installation):
            found.append(Finding(check.topic, state, text, remedy))
    except NotCheckedError as exc:
        if isinstance(exc, NoDatabaseYetError) and installation.collector():
            return found  # where none is needed, there is nothing to check
        found.append(Finding(check.topic, State.WARNING, f"not checked: {exc}"))
    except TicklineError as exc:
        text, _, remedy = str(exc).rpartition(": ")
        found.append(Finding(check.topic, State.FAILURE, text or str(exc), remedy if text else ""))
    except Exception as exc:
        text = f"the check failed, {type(exc).__name__}: {exc}".splitlines()[0][:TEXT_CHARS_MAX]
        found.append(Finding(check.topic, State.FAILURE, text, "report it"))
    return found
