"""Options of `tickline simulate` for what goes wrong, how they are written, and their place in `--help`.

One table holds them all. What they make is a plan, `ingest.simulator.server.faults.BadDay`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ingest.simulator.server.faults import BadDay, Episode

WHEN = re.compile(r"(?P<value>.*?)(@(?P<start>\d{1,6}(\.\d+)?)(\+(?P<length>\d{1,6}(\.\d+)?))?)?")
NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
EVERY_S_MIN = 0.1  # oftener nobody gets connected
SECONDS_MAX = 86_400.0
ROWS_MAX = 100_000
TIMED = "[@START[+LENGTH]]"
# RFC 6455, section 7.4: what may be in a close frame. 1005, 1006 and 1015 are for when there is none.
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

CONNECTIONS = "Faults of connections (cut is without a word, 1006)"
REQUESTS = "Faults of login and requests"
FRAMES = "Faults of the feed"
LISTS = "Faults of clock, status and list of instruments"
# Options whose value is an attribute of the plan; those of the others are episodes.
PLAIN = {
    "drop_every": "drop_every_s",
    "drop_random": "drop_random_s",
    "close": "closes",
    "token_expires": "token_expires_s",
    "odd_status_every": "odd_status_every_s",
}
Function = TypeVar("Function", bound=Callable[..., Any])
NOTE = (
    "Seconds of faults are real ones, whatever --speed, and count from the first client. VALUE@START+LENGTH lasts from "
    "second START for LENGTH seconds, VALUE@START to the end, VALUE alone all the time. What has an @ can be given "
    "several times. What happens is printed. The same --seed gives the same faults."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One option: what it is called, how its value is read, and what is said of it."""

    name: str
    section: str
    metavar: str
    example: str
    help: str
    read: Callable[[str], Any]
    multiple: bool = False

    @property
    def parameter(self) -> str:
        """Its name as an argument."""
        return self.name.lstrip("-").replace("-", "_")


class FaultOption(click.Option):
    """An option that has a section of `--help`, and is shown there as one writes it."""

    def __init__(self, *given: Any, section: str, example: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self.section, self.example = section, example

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the example and what it does."""
        return f"{self.opts[0]} {self.example}", self.help or ""


class FaultyCommand(click.Command):
    """A command whose `--help` has the options of faults in sections of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usual options first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if (record := option.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(option, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        formatter.write_paragraph()
        formatter.write_text(NOTE)


def _number(text: str, low: float, high: float, *, whole: bool = False) -> float:
    """Read a number; raise ValueError."""
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    if not low <= number <= high or (whole and number != int(number)):
        raise ValueError
    return number


def _seconds(text: str) -> float:
    return _number(text, EVERY_S_MIN, SECONDS_MAX)


def _close(text: str) -> tuple[int, float]:
    code, _, at_s = text.partition("@")
    if int(code) not in CLOSE_CODES:
        raise ValueError
    return int(code), _number(at_s, 0, SECONDS_MAX)


def _timed(switch: str, read: Callable[[str], int | float | str]) -> Callable[[str], Episode]:
    def episode(text: str) -> Episode:
        from ingest.simulator.server.faults import Episode

        found = WHEN.fullmatch(text)
        if found is None:
            raise ValueError
        value, start, length = read(found["value"]), found["start"] or 0, found["length"] or math.inf
        return Episode(switch, value, float(start), float(length))

    return episode


def _status(text: str) -> int:
    return int(_number(text, 400, 599, whole=True))


def _every(text: str) -> int:
    return int(_number(text, 1, 10**9, whole=True))


def _key(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _off(text: str) -> float:
    return _number(text, -SECONDS_MAX, SECONDS_MAX)


def _rows(text: str) -> Episode:
    from ingest.simulator.server.faults import Episode

    return Episode("odd_rows", int(_number(text, 1, ROWS_MAX, whole=True)))


def _of_frames(switch: str, what: str, example: str) -> Fault:
    """Return an option for one of so many frames."""
    read = _timed(f"{switch}_every", _every)
    return Fault(f"--{switch}-every", FRAMES, f"FRAMES{TIMED}", example, what, read, multiple=True)


FAULTS = (
    Fault("--drop-every", CONNECTIONS, "SECONDS", "30", "All are cut every so many seconds.", _seconds),
    Fault("--drop-random", CONNECTIONS, "SECONDS", "45", "All are cut at random, so many seconds apart on average.",
          _seconds),
    Fault("--close", CONNECTIONS, "CODE@SECOND", "1011@60", "All are closed with this code at this second.", _close,
          True),
    Fault(
        "--refuse", REQUESTS, f"STATUS{TIMED}", "429@60+20",
        "Requests for a connection are answered with this HTTP status (401, 403, 429, 503 …).",
        _timed("refuse", _status), True,
    ),
    Fault(
        "--token-expires", REQUESTS, "SECOND", "60",
        "The token is good until this second; all connections are cut, and the token with -2 behind it is taken.",
        _seconds,
    ),
    Fault(
        "--busy-every", REQUESTS, f"REQUESTS{TIMED}", "5@60",
        "One of so many requests for candles and prices is answered with 429.", _timed("busy_every", _every), True,
    ),
    Fault(
        "--mute", FRAMES, f"KEY|all{TIMED}", "'NSE_FO|35000@60+30'",
        "Nothing of this key is sent; of all: nothing at all.", _timed("mute", _key), True,
    ),
    _of_frames("skip", "One of so many frames is left out: 2 is half the rate.", "2@60+120"),
    _of_frames("repeat", "One of so many frames is sent twice.", "10@60"),
    _of_frames("swap", "One of so many frames is sent behind the next.", "10@60"),
    _of_frames("text", "A text message is sent before one of so many frames.", "100@60"),
    _of_frames("huge", "One of so many frames is 2 MiB larger.", "500@60"),
    _of_frames("truncate", "One of so many frames lacks its end.", "100@60"),
    _of_frames("poison", "One of so many frames has one more update, whose key is none.", "50@60"),
    _of_frames("crowd", "A frame of 6,000 unknown keys is sent before one of so many.", "500@60"),
    Fault(
        "--clock-off", LISTS, f"SECONDS{TIMED}", "-6@60+30",
        "The server time of frames is off by so many seconds; below 0 it is slow.", _timed("clock_off_s", _off), True,
    ),
    Fault(
        "--odd-status-every", LISTS, "SECONDS", "20",
        "An odd market_info (closed, unknown segments, numbers, times) is sent every so many seconds, the true one "
        "half of it later.", _seconds,
    ),
    Fault("--odd-rows", LISTS, "ROWS", "20", "So many odd rows are added to the list of instruments.", _rows),
)  # fmt: skip


def fault_options(command: Function) -> Function:
    """Give a command an option for each fault."""
    for fault in reversed(FAULTS):
        command = click.option(
            fault.name,
            cls=FaultOption,
            section=fault.section,
            metavar=fault.metavar,
            multiple=fault.multiple,
            callback=_reader(fault),
            example=fault.example,
            help=fault.help,
        )(command)
    return command


def bad_day(given: dict[str, Any], *, seed: int) -> BadDay:
    """Return the plan that the values of the options make."""
    from ingest.simulator.server.faults import BadDay, Episode

    values = {PLAIN[name]: value for name, value in given.items() if name in PLAIN and value}
    timed = [given[fault.parameter] for fault in FAULTS if fault.parameter not in PLAIN]
    episodes = [one for held in timed for one in ([held] if isinstance(held, Episode) else held or ())]
    return BadDay(episodes=tuple(episodes), seed=seed, **values)


def _reader(fault: Fault) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def read(ctx: click.Context, param: click.Parameter, given: Any) -> Any:
        if fault.multiple:
            return tuple(one(text) for text in given)
        return None if given is None else one(given)

    def one(text: str) -> Any:
        try:
            return fault.read(text)
        except ValueError:
            raise click.UsageError(
                f"cannot read {fault.name} {text!r}: write it as {fault.metavar}, "
                f"for example {fault.name} {fault.example}"
            ) from None

    return read
