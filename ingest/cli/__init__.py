"""The command `tickline`: one file a subcommand, loaded when it is asked for.

Owns logging, exit codes and how an error looks: one line on stderr, no traceback without
`--debug`. All that is printed, rows aside, passes a fence that no secret value gets through.
Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType

import click

from ingest.cli.usage import check_texts, usage_line
from ingest.errors import TicklineError
from ingest.market.shown_time import ist
from ingest.redaction import fence_output

ERROR_CHARS_MAX = 500  # of an internal error, whose text may hold what was being read
# Subcommand -> module:object. A module is imported only for its own command.
COMMANDS = {
    "backfill": "ingest.cli.record.backfill:command",
    "bars": "analytics.cli.read:bars_command",
    "bench": "ingest.cli.trial.bench:command",
    "config": "ingest.cli.operate.config:command",
    "db": "ingest.cli.operate.db:command",
    "demo": "ingest.cli.trial.demo:command",
    "login": "ingest.cli.record.login:command",
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
    "universe": "ingest.cli.record.universe:command",
    "verify": "ingest.cli.operate.verify:command",
}
READ_NO_SETTINGS = {"simulate"}
SUMMARIES = {
    "backfill": "Repair bars with the vendor's own, where the feed was not heard.",
    "bars": "Print OHLCV bars of instruments.",
    "bench": "Measure this machine: ingest and its parts, against a reference.",
    "config": "Print every setting with its default: a settings file to begin with.",
    "db": "Create or migrate the schema; show its state.",
    "demo": "Run the whole path on this machine, nothing to set up.",
    "login": "Get an access token from the vendor and store it.",
    "quarantine": "List frames that were not understood, and replay them after a fix.",
    "export": "Write the ticks of days to Parquet.",
    "reconcile": "Compare our bars with the vendor's, and both with the day's volume.",
    "replay": "Push recorded frames through the path of live ingestion.",
    "simulate": "Serve an Upstox-compatible V3 feed on loopback.",
    "spikes": "Find spikes in bars, store them as signals, judge the detector.",
    "sql": "Run one read-only SQL statement.",
    "start": "Ingest the live feed until stopped.",
    "status": "Show what the running ingester says of itself.",
    "ticks": "Print ticks of instruments.",
    "universe": "Show, plan and refresh what is recorded.",
    "verify": "Compare the journal with the ledger and the table, frame by frame.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an argument of it that is empty is nobody's wish."""
        found = super().resolve_command(ctx, args)
        check_texts(ctx, args[1:])
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


class IndianFormatter(logging.Formatter):
    """Lines of the log with India's time, wherever the machine stands."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - the library's
        """Return the time of a record, to the millisecond."""
        return ist(datetime.fromtimestamp(round(record.created, 3), UTC))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Log everything and show tracebacks.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.version_option(package_name="tickline")
@click.pass_context
def group(ctx: click.Context, debug: bool, log_level: str) -> None:
    """Record ticks of Indian futures and options, and read them as bars.

    Settings come from the environment and from .env; `tickline config` prints them all.
    """
    ctx.obj = {"debug": debug}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(IndianFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else log_level.upper(), handlers=[handler])
    for chatty in ("websockets", "asyncio", "aiohttp", "alembic", "psycopg"):
        logging.getLogger(chatty).setLevel(logging.INFO if debug else logging.WARNING)
    logging.getLogger("dotenv").setLevel(logging.ERROR)  # names no file, at each look; `ingest.env_file` does
    # Its warnings are of what clients sent, a line for each: who can reach the port could fill the disk with them.
    logging.getLogger("uvicorn.error").setLevel(logging.INFO if debug else logging.ERROR)
    if ctx.invoked_subcommand not in READ_NO_SETTINGS and not {"-h", "--help"} & set(sys.argv):
        from ingest.settings import check_setting_names

        check_setting_names()


def main() -> None:
    """Run the command line."""
    debug = "--debug" in sys.argv
    fence_output()
    stdout = sys.stdout
    # As Ctrl-C: a command that is ended leaves no server behind. What the caller ignores, as nohup does, stays ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    try:
        group.main(prog_name="tickline", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        if exc.ctx is None or exc.ctx.parent is None:  # a bare `tickline` asks what there is
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
        # click puts a stream of its own in the place of a broken one, rich exits out of the error; both with code 1.
        if isinstance(exc, SystemExit) and sys.stdout is stdout and not isinstance(exc.__context__, BrokenPipeError):
            raise
        _leave_quietly()
    except TicklineError as exc:
        _fail(str(exc), debug=debug)
    except Exception as exc:
        # Not its repr, which may hold a whole file: its text names what is wrong, and goes through the fence.
        what = f"{type(exc).__name__}: {exc}".splitlines()[0][:ERROR_CHARS_MAX]
        _fail(f"internal error: {what}: run it again with --debug and report what it prints", debug=debug)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str, *, debug: bool = False, exit_code: int = 1) -> None:
    if debug:
        logging.getLogger(__name__).exception("failed")
    with suppress(BrokenPipeError):
        click.echo(f"tickline: {text}", err=True)
    sys.exit(exit_code)


def _leave_quietly() -> None:
    """End after the reader of the output went away, as `| head` does; Python would complain of what it cannot flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    sys.exit(0)
