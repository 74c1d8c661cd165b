"""Turn each usage error into one line: the option or argument, the value, the remedy. Pure.

Owns the wording, whatever raised the error. Must not know any command.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import click

from ingest.errors import lower_first

NEAR_MAX = 2  # names to suggest
VALUE = re.compile(r"""(['"]).*?\1(?= is | does )|[-+.\w]+(?= is )""")  # at the start of click's messages


def usage_line(error: click.UsageError) -> str:
    """Return a usage error as one line: what is wrong, the value, the remedy."""
    ctx = error.ctx
    see = f"see `{ctx.command_path} --help`" if ctx else "see the command's --help"
    if isinstance(error, click.exceptions.NoSuchOption):
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts] if ctx else []
        return f"option {error.option_name!r} does not exist: {_near(error.option_name, known) or see}"
    if isinstance(error, click.exceptions.NoSuchCommand):
        known = ctx.command.list_commands(ctx) if ctx and isinstance(ctx.command, click.Group) else []
        return f"command {error.command_name!r} does not exist: {_near(error.command_name, known) or see}"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"command is missing: {_write(ctx)}"
    if isinstance(error, click.MissingParameter):
        return f"{_name(error.param)} is missing: {_write(ctx)}"
    if isinstance(error, click.BadOptionUsage):
        return f"{_said(error.message)}: {see}"
    if isinstance(error, click.BadParameter):
        return f"{_name(error.param)}: {_judged(error)}"
    said = _said(error.message)
    return said if ": " in said else f"{said}: {_write(ctx)}"


def check_texts(ctx: click.Context, arguments: list[str]) -> None:
    """Refuse empty arguments, as an unset shell variable leaves them, and arguments that are not UTF-8.

    Raises
    ------
    click.UsageError
        With the option's name, or the argument's position.
    """
    for place, text in enumerate(arguments, 1):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise click.UsageError(f"argument {place} is not UTF-8, {text!r}: convert it, or set LC_ALL=C.UTF-8", ctx)
        name, _, value = text.rpartition("=") if text.startswith("--") else ("", "", text)
        if value.strip():
            continue
        before = arguments[place - 2] if place > 1 else ""
        option = name or (before if before.startswith("-") and before != "--" else "")
        if option:
            raise click.UsageError(f"option {option} has the empty value {value!r}: give a value, or omit it", ctx)
        raise click.UsageError(f"argument {place} is empty, {value!r}: give a value, or omit it", ctx)


def _said(message: str) -> str:
    return lower_first(" ".join(message.split()).rstrip("."))


def _name(param: click.Parameter | None) -> str:
    """Return a parameter as the user writes it."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return "argument" if param is None else param.make_metavar(click.Context(click.Command(None))).strip("[].")


def _write(ctx: click.Context | None) -> str:
    """Return the remedy for a command line with too few or too many words."""
    if ctx is None:
        return "see `tickline --help`"
    if isinstance(ctx.command, click.Group):
        return f"write `{ctx.command_path} {'|'.join(ctx.command.list_commands(ctx))}`"
    return f"write `{' '.join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])}`"


def _near(name: str, known: Iterable[str]) -> str:
    """Return the remedy for a mistyped name; "" if no known name is similar."""
    words = {one.lstrip("-"): one for one in known}  # otherwise dashes dominate the similarity of short options
    near = difflib.get_close_matches(name.lstrip("-"), words, n=NEAR_MAX)
    return f"write {' or '.join(words[word] for word in near)}" if near else ""


def _judged(error: click.BadParameter) -> str:
    """Say why a value is wrong and what to write; our own callbacks already say both."""
    said, kind = _said(error.message), None if error.param is None else error.param.type
    value = VALUE.match(said)
    if isinstance(kind, click.Choice):
        return f"{said}: write one of them"
    if isinstance(kind, click.Path):
        return f"{said}: name another {'folder' if kind.dir_okay and not kind.file_okay else 'file'}"
    if isinstance(kind, click.IntRange | click.FloatRange) and value:
        least = "" if kind.min is None else f" {'above' if kind.min_open else 'from'} {kind.min}"
        most = "" if kind.max is None else f" to {kind.max}"
        number = f"{'whole ' if isinstance(kind, click.IntRange) else ''}number{least}{most}"
        return f"{value[0]} is not a {number}: write one"
    return said
