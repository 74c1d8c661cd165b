"""Wrong use of every command: exit code 2 and one line that names the option or argument, the value and a remedy.

The cases are made from the commands themselves. An option whose type does not say what is wrong with a value must
stand in one of the two tables, so that a new one is thought of.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from analytics.cli.options import Day
from ingest import cli

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"  # who gets as far as the database fails with exit code 1
TIMES = {"--from": "yesterdays", "--to": "2025-13-01"}
FILES = {"--output": "/nonexistent/x.csv", "--limit": "0", "--columns": "a,,b"}
# Wrong values of options whose own check knows them.
WRONG: dict[str, dict[str, str]] = {
    "bars": {"--interval": "7x", **TIMES, **FILES},
    "bench latency": {"--rates": "1000,fast"},
    "doctor": {"--collector": "mumbai:8791"},
    "login": {"--redirect-uri": "nowhere"},
    "page": {"--host": "a b"},
    "reconcile": FILES,
    "replay": {"--collector": "a/b"},
    "simulate": {"--speed": "fast", "--spike": "INFY", "--host": "a..b", "--frames": "/nonexistent"}
    | {"--instruments-file": "/nonexistent", "--truth": "/nonexistent/x.json"},
    "spikes find": {"--webhook": "ftp://x", "--log": "/", "--chart": "/nonexistent/x.html"}
    | {"--rules": "/nonexistent"}
    | TIMES
    | FILES,
    "spikes evaluate": {"--rules": "/nonexistent"} | TIMES,
    "universe plan": {"--account": "chennai=gold"},
    "spikes fit": {"--rules": "/nonexistent", "--output": "/nonexistent/mine.toml"} | TIMES,
    "spikes label": {**TIMES, **FILES},
    "spikes report": {**TIMES, "--html": "/nonexistent/x.html"},
    "sql": FILES,
    "ticks": {**TIMES, **FILES},
    "verify": {"--from": "mumbai:8791"},
    "depth": {**TIMES, **FILES},
}
FAULTS = (
    "--drop-every --drop-random --close --refuse --token-expires --busy-every --mute --skip-every --repeat-every "
    "--swap-every --text-every --huge-every --truncate-every --poison-every --crowd-every --clock-off "
    "--odd-status-every --odd-rows"
)
WRONG["simulate"] |= dict.fromkeys(FAULTS.split(), "@1")
# Options that take any text but none.
ANY = {"simulate": {"--token"}, "spikes label": {"--note"}, "spikes report": {"--rules"}}
# Arguments that one must give for the options to be looked at.
NEEDS = {
    "bars": ["INFY"],
    "ticks": ["INFY"],
    "depth": ["INFY"],
    "sql": ["select 1"],
    "replay": [__file__],
    "spikes evaluate": [__file__],
    "spikes fit": [__file__, "--output", "mine.toml"],
    "spikes label": ["INFY", "today", "right"],
}
NEEDS |= {"bench journal": [__file__], "db backup": ["x.dump"], "db restore": [__file__]}
# What only together is wrong, or by what it is; and what the line must name.
TOGETHER = [
    ("bars INFY --from 2025-12-16 --to 2025-12-15", ["--to", "2025-12-15 00:00:00 IST", "--from"]),
    ("ticks INFY --from 2025-12-16 --to 2025-12-15", ["--to", "2025-12-15 00:00:00 IST", "--from"]),
    ("spikes --from 2025-12-16 --to 2025-12-15", ["--to", "--from"]),
    ("spikes --follow --output x", ["--follow"]),
    ("spikes evaluate", ["FILE", "KEY"]),
    ("spikes evaluate --labels INFY", ["--labels", "KEY"]),
    ("spikes --webhook http://127.0.0.1/", ["--webhook", "--follow"]),
    ("spikes INFY TCS --chart x.html", ["--chart", "one KEY"]),
    ("spikes label INFY", ["KEY, TIME", "--list"]),
    ("spikes label INFY today right --remove", ["KEY, TIME", "--remove"]),
    ("spikes label --list INFY today", ["--list", "TIME"]),
    ("spikes label INFY today right --from -2d", ["--from", "--list"]),
    ("spikes report --day 2025-12-15 --from 2025-12-15", ["--day", "--from"]),
    ("simulate", ["--frames FILE", "--generate"]),
    (f"simulate --generate --frames {__file__}", ["--generate", "--frames"]),
    (f"simulate --generate --instruments-file {__file__}", ["--instruments-file", "--frames"]),
    (f"simulate --frames {__file__} --spike K@1:2", ["--spike", "--generate"]),
    ("nothing", ["'nothing'", "`tickline --help`"]),
    ("replai x", ["'replai'", "write replay"]),
    ("db upgrad", ["'upgrad'", "write upgrade"]),
    ("db", ["command is missing", "`tickline db "]),
    ("universe shwo", ["'shwo'", "write show"]),
    ("bars INFY --frm x", ["'--frm'", "--from"]),
    ("--log-level loud start", ["--log-level", "'loud'", "'info'"]),
    ("--nope start", ["'--nope'", "--help"]),
    ("replay /nonexistent", ["'/nonexistent'", "name another"]),
    ("replay /", ["'/' is a directory", "name another"]),
    ("bars INFY --output /", ["--output", "'/' is a directory"]),
    ("sql select\udce9", ["argument 1 is not UTF-8", "LC_ALL"]),
]


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from leaves(command, (*path, name))
            else:
                yield " ".join((*path, name)), command


COMMANDS = dict(leaves(cli.group))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No database, no settings, a home of its own."""
    for name in [name for name in os.environ if name.startswith(("TICKLINE_", "UPSTOX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", NOWHERE)
    monkeypatch.setenv("TICKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


def refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line; return its one line on stderr after seeing that it is wrong usage."""
    monkeypatch.setattr(sys, "argv", ["tickline", *arguments])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))  # which `main` puts a fence round
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, ""), f"{arguments}: {err}"
    assert err.startswith("tickline: ") and err.count("\n") == 1, f"{arguments}: {err}"
    what, remedy, *_ = err.removeprefix("tickline: ").rstrip().rsplit(": ", 1)
    assert what and remedy, err
    return err


def wrong_values(name: str, option: click.Option) -> list[str]:
    """Return values that an option must refuse."""
    kind, flag = option.type, max(option.opts, key=len)
    if flag in WRONG.get(name, {}):
        return [WRONG[name][flag]]
    if isinstance(kind, click.IntRange | click.FloatRange):
        least = kind.min if kind.min is not None else 0
        return ["many", f"{least if kind.min_open else least - 1:g}"] + ([f"{kind.max + 1:g}"] if kind.max else [])
    if isinstance(kind, Day):
        return ["tomorrow", "2025-02-30", "15-12-2025", "-2x"]
    if isinstance(kind, click.Choice):
        return ["nothing"]
    if isinstance(kind, click.Path) and kind.exists:
        return ["/nonexistent", "/"]
    if isinstance(kind, click.Path) and not kind.file_okay:
        return [__file__]
    assert flag in ANY.get(name, set()), (
        f"give a wrong value of {flag} of `tickline {name}` in WRONG, or name it in ANY"
    )
    return []


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_use_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command, words, needs = COMMANDS[name], name.split(), NEEDS.get(name, [])

    def said(*arguments: str) -> str:
        return refused([*words, *arguments], monkeypatch, capsys)

    assert "'--no-such-option' does not exist" in said(*needs, "--no-such-option") or name == "sql"
    assert "is empty, ''" in said(*needs, "")
    assert "is empty, ' '" in said(*needs, " ")
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    if not any(argument.nargs == -1 for argument in arguments):
        assert "(extra)" in said(*needs, *(["status"] if name == "status" else []), "extra")
    if any(argument.required for argument in arguments):
        assert "is missing: write `tickline " in said()
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_flag:
            continue
        flag = max(option.opts, key=len)
        assert f"'{flag}' requires an argument" in said(*needs, flag)
        assert f"{flag} has the empty value ''" in said(*needs, flag, "")
        assert f"{flag} has the empty value ''" in said(*needs, f"{flag}=")
        for value in wrong_values(name, option):
            line = said(*needs, *(["--follow"] if flag in {"--webhook", "--log"} else []), flag, value)
            assert flag in line and value in line
            assert not {"valid", "match", "range"} & set(line.split())


@pytest.mark.parametrize(("line", "named"), TOGETHER)
def test_what_is_wrong_together_is_one_line(
    line: str, named: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = refused(line.split(), monkeypatch, capsys)
    for part in named:
        assert part in found


@pytest.mark.parametrize(
    ("option", "remedy"), [("--day", "see `tickline spikes find --help`"), ("--chrat", "write --chart")]
)
def test_option_that_is_near_by_its_letters_is_named(
    option: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(["spikes", option, "x"], monkeypatch, capsys).rstrip().endswith(remedy)


def test_tables_name_options_that_are_there() -> None:
    for table in (WRONG, ANY):
        for name, options in table.items():
            known = {opt for param in COMMANDS[name].params for opt in param.opts}
            assert set(options) <= known
    assert set(NEEDS) <= set(COMMANDS)


def test_bare_command_shows_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tickline"])
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, getattr(sys, stream))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "Commands:" in capsys.readouterr().err
