"""Fault options of `tickline simulate`: their syntax and their sections in `--help`.

One table defines all of them. Their values become a plan, `ingest.simulator.server.faults.BadDay`.
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
EVERY_S_MIN = 0.1  # more often, no client gets connected
SECONDS_MAX = 86_400.0
ROWS_MAX = 100_000
TIMED = "[@START[+LENGTH]]"
# Codes that a close frame may carry (RFC 6455, section 7.4); 1005, 1006 and 1015 are never sent.
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

CONNECTIONS = "Connection faults (a cut sends no close frame; the client sees 1006)"
REQUESTS = "Login and request faults"
FRAMES = "Feed faults"
LISTS = "Faults of clock, market status and instrument master"
# Options whose value is an attribute of the plan; all others become episodes.
PLAIN = {
    "drop_every": "drop_every_s",
    "drop_random": "drop_random_s",
    "close": "closes",
    "token_expires": "token_expires_s",
    "odd_status_every": "odd_status_every_s",
}
Function = TypeVar("Function", bound=Callable[..., Any])
NOTE = (
    "Fault times are real seconds at any --speed, counted from the first client. VALUE@START+LENGTH applies from "
    "second START for LENGTH seconds, VALUE@START until the end, VALUE alone the whole time. Options with an @ may be "
    "repeated. Each fault is printed when it happens. The same --seed gives the same faults."
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault option: its name, syntax, help and parser."""

    name: str
    section: str
    metavar: str
    example: str
    help: str
    read: Callable[[str], Any]
    multiple: bool = False

    @property
    def parameter(self) -> str:
        """Name of the function argument."""
        return self.name.lstrip("-").replace("-", "_")


class FaultOption(click.Option):
    """An option with a section of its own in `--help`, shown with an example value."""

    def __init__(self, *given: Any, section: str, example: str, **more: Any) -> None:
        super().__init__(*given, **more)
        self.section, self.example = section, example

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option with its example value, and its help."""
        return f"{self.opts[0]} {self.example}", self.help or ""


class FaultyCommand(click.Command):
    """A command whose `--help` groups the fault options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usual options, then a section for each group of faults, then a note on times."""
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
    """Return a number from `low` to `high`; raise ValueError otherwise."""
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
    """Return an option for a fault of every Nth frame."""
    read = _timed(f"{switch}_every", _every)
    return Fault(f"--{switch}-every", FRAMES, f"FRAMES{TIMED}", example, what, read, multiple=True)


FAULTS = (
    Fault("--drop-every", CONNECTIONS, "SECONDS", "30", "Cut all connections at this interval.", _seconds),
    Fault("--drop-random", CONNECTIONS, "SECONDS", "45", "Cut all connections at random, on average at this interval.",
          _seconds),
    Fault("--close", CONNECTIONS, "CODE@SECOND", "1011@60", "Close all connections with this code at this second.",
          _close, True),
    Fault(
        "--refuse", REQUESTS, f"STATUS{TIMED}", "429@60+20",
        "Answer connection requests with this HTTP status (401, 403, 429, 503 …).",
        _timed("refuse", _status), True,
    ),
    Fault(
        "--token-expires", REQUESTS, "SECOND", "60",
        "Expire the token at this second: cut all connections and accept only the token with -2 appended.",
        _seconds,
    ),
    Fault(
        "--busy-every", REQUESTS, f"REQUESTS{TIMED}", "5@60",
        "Answer every Nth request for candles or prices with 429.", _timed("busy_every", _every), True,
    ),
    Fault(
        "--mute", FRAMES, f"KEY|all{TIMED}", "'NSE_FO|35000@60+30'",
        "Send nothing for this key; all mutes every key.", _timed("mute", _key), True,
    ),
    _of_frames("skip", "Leave out every Nth frame: 2 halves the rate.", "2@60+120"),
    _of_frames("repeat", "Send every Nth frame twice.", "10@60"),
    _of_frames("swap", "Send every Nth frame after the next one.", "10@60"),
    _of_frames("text", "Send a text message before every Nth frame.", "100@60"),
    _of_frames("huge", "Make every Nth frame 2 MiB larger.", "500@60"),
    _of_frames("truncate", "Cut off the end of every Nth frame.", "100@60"),
    _of_frames("poison", "Add an update with an invalid key to every Nth frame.", "50@60"),
    _of_frames("crowd", "Send a frame of 6,000 unknown keys before every Nth frame.", "500@60"),
    Fault(
        "--clock-off", LISTS, f"SECONDS{TIMED}", "-6@60+30",
        "Shift the server time of frames by this many seconds; negative is slow.", _timed("clock_off_s", _off), True,
    ),
    Fault(
        "--odd-status-every", LISTS, "SECONDS", "20",
        "Send an odd market_info (closed, unknown segments, odd numbers or times) at this interval, the true one half "
        "an interval later.", _seconds,
    ),
    Fault("--odd-rows", LISTS, "ROWS", "20", "Add this many odd rows to the instrument master.", _rows),
)  # fmt: skip


def fault_options(command: Function) -> Function:
    """Add an option for each fault to a command."""
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
    """Return the plan given by the options' values."""
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
