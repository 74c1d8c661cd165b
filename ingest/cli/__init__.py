"""The `tickline` command: one file per subcommand, imported only when it runs.

Owns logging, exit codes and the form of errors: one line on stderr, with a traceback only under
`--debug`. Everything printed, except data rows, passes a filter that removes secret values.
Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import click
from click.shell_completion import CompletionItem

from ingest.cli.log_lines import IndianFormatter
from ingest.cli.usage import check_texts, usage_line
from ingest.errors import TicklineError
from ingest.redaction import fence_output

ERROR_CHARS_MAX = 500  # of an internal error, whose text may contain the input
# Subcommand -> module:object. A module is imported only for its own command.
COMMANDS = {
    "backfill": "ingest.cli.record.backfill:command",
    "bars": "analytics.cli.read:bars_command",
    "bench": "ingest.cli.trial.bench:command",
    "collect": "ingest.cli.record.collect:command",
    "config": "ingest.cli.operate.config:command",
    "db": "ingest.cli.operate.db:command",
    "doctor": "ingest.cli.operate.doctor:command",
    "demo": "ingest.cli.trial.demo:command",
    "login": "ingest.cli.record.login:command",
    "page": "analytics.cli.page:command",
    "quarantine": "ingest.cli.operate.quarantine:command",
    "export": "analytics.cli.read:export_command",
    "reconcile": "analytics.cli.read:reconcile_command",
    "replay": "ingest.cli.record.replay:command",
    "simulate": "ingest.cli.trial.simulate:command",
    "spikes": "analytics.cli.spikes:command",
    "sql": "analytics.cli.read:sql_command",
    "start": "ingest.cli.record.start:command",
    "status": "ingest.cli.operate.status:command",
    "ticks": "analytics.cli.read:ticks_command",
    "depth": "analytics.cli.read:depth_command",
    "universe": "ingest.cli.record.universe:command",
    "write": "ingest.cli.record.write:command",
    "verify": "ingest.cli.operate.verify:command",
}
COMPLETE = "_TICKLINE_COMPLETE"  # set by a shell's completion, see click
DEFAULT_LEVEL = "info"
READ_NO_SETTINGS = {"doctor", "simulate"}  # the doctor says which are wrong
# They change what TICKLINE_HOME or the database has, perhaps at night; what only reads leaves no trace.
WRITE_LOG_FILES = {"backfill", "db", "export", "login", "quarantine", "reconcile", "replay", "spikes", "start"}
WRITE_LOG_FILES |= {"collect", "universe", "write"}
SUMMARIES = {
    "backfill": "Fetch the vendor's bars for minutes that the feed missed.",
    "bars": "Print OHLCV bars.",
    "bench": "Measure how fast this machine ingests.",
    "collect": "Record the live feed for a writer elsewhere; no database.",
    "config": "Print all settings with their defaults, ready for .env.",
    "db": "Create, migrate and maintain the database.",
    "doctor": "Check everything that recording needs, line by line.",
    "demo": "Run the whole path on this machine; needs no set-up.",
    "login": "Get an access token from the vendor and store it.",
    "page": "Show everything live in a browser.",
    "quarantine": "List frames that could not be used; replay them after a fix.",
    "export": "Write ticks to Parquet, one file per day.",
    "reconcile": "Compare our bars with the vendor's.",
    "replay": "Ingest recordings or journal segments.",
    "simulate": "Serve a simulated Upstox V3 feed on this machine.",
    "spikes": "Find price and volume spikes; evaluate the detector.",
    "sql": "Run one read-only SQL statement.",
    "start": "Record the live feed until stopped.",
    "status": "Show the status of the running ingester.",
    "ticks": "Print ticks.",
    "depth": "Print order books, if they were recorded.",
    "universe": "Show and plan what is recorded; load the instrument master.",
    "write": "Commit what collectors elsewhere record.",
    "verify": "Check that journal, database and exchange volumes agree.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; refuse empty arguments, which come from unset shell variables."""
        found = super().resolve_command(ctx, args)
        check_texts(ctx, args[1:])
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; put the error that ends it into the log files too, a bug with its traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, BrokenPipeError):
            raise
        except Exception as exc:
            if log_files := (ctx.obj or {}).get("log_files"):
                log_files.failed(_error_text(exc), exc_info=not isinstance(exc, TicklineError))
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete the names of commands without importing them, and options."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found: list[CompletionItem[str]] = [CompletionItem(name, help=SUMMARIES[name]) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Log everything and show tracebacks.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Log this level and above.  [default: TICKLINE_LOG_LEVEL, otherwise info]",
)
@click.version_option(package_name="tickline")
@click.pass_context
def group(ctx: click.Context, debug: bool, log_level: str | None) -> None:
    """Record ticks of Indian futures and options, and read them as bars.

    Settings come from the environment and from .env in the current folder; `tickline config` lists them all.
    """
    ctx.obj = {"debug": debug}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(IndianFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else (log_level or DEFAULT_LEVEL).upper(), handlers=[handler])
    for chatty in ("websockets", "asyncio", "aiohttp", "alembic", "psycopg"):
        logging.getLogger(chatty).setLevel(logging.INFO if debug else logging.WARNING)
    # It warns at each read without the file's name; `ingest.env_file` warns once, with it.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    # It warns about each bad request: anyone who reaches the port could fill the disk with warnings.
    logging.getLogger("uvicorn.error").setLevel(logging.INFO if debug else logging.ERROR)
    if ctx.invoked_subcommand not in READ_NO_SETTINGS and not {"-h", "--help"} & set(sys.argv):
        from ingest.settings import check_setting_names

        check_setting_names()
        from ingest.cli.log_files import LogFiles, log_settings

        settings = log_settings()
        if settings is not None and not debug and log_level is None and settings.log_level != DEFAULT_LEVEL:
            logging.getLogger().setLevel(settings.log_level.upper())
        if settings is not None and ctx.invoked_subcommand in WRITE_LOG_FILES:
            ctx.obj["log_files"] = log_files = LogFiles(settings, ctx.invoked_subcommand)
            ctx.call_on_close(log_files.close)


def main() -> None:
    """Run the command line."""
    debug = "--debug" in sys.argv
    if COMPLETE not in os.environ:  # a shell asks for names of commands and options, as bytes
        fence_output()
    stdout = sys.stdout
    # Like Ctrl-C, so that a terminated command leaves no server behind. A signal that the caller ignores (nohup) stays
    # ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    try:
        group.main(prog_name="tickline", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        if exc.ctx is None or exc.ctx.parent is None:  # a bare `tickline` prints the help
            exc.show()
            sys.exit(2)
        _fail(usage_line(exc), exit_code=2)
    except click.UsageError as exc:
        _fail(usage_line(exc), exit_code=2)
    except click.ClickException as exc:
        _fail(exc.format_message(), exit_code=exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped", debug=debug)
    except (BrokenPipeError, SystemExit) as exc:
        # click replaces the broken stream with its own; rich exits while handling the error. Both exit with code 1.
        if isinstance(exc, SystemExit) and sys.stdout is stdout and not isinstance(exc.__context__, BrokenPipeError):
            raise
        _leave_quietly()
    except Exception as exc:
        _fail(_error_text(exc), debug=debug)


def _error_text(exc: Exception) -> str:
    if isinstance(exc, TicklineError):
        return str(exc)
    # Not its repr, which may contain a whole file.
    what = f"{type(exc).__name__}: {exc}".splitlines()[0][:ERROR_CHARS_MAX]
    return f"internal error: {what}: run it again with --debug and report what it prints"


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str, *, debug: bool = False, exit_code: int = 1) -> None:
    if debug:
        logging.getLogger(__name__).exception("failed")
    with suppress(BrokenPipeError):
        click.echo(f"tickline: {text}", err=True)
    sys.exit(exit_code)


def _leave_quietly() -> None:
    """Exit quietly when the reader of the output has gone (`| head`); otherwise Python reports a failed flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    sys.exit(0)
