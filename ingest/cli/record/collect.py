"""`tickline collect`: record the live feed into a journal, for `tickline write` elsewhere."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click


@click.command("collect")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option(
    "--keys",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Record the keys of this file: lines KEY or KEY,MODE.  [default: TICKLINE_UNIVERSE_FILE]",
)
@click.option(
    "--mode",
    type=click.Choice(["ltpc", "option_greeks", "full", "full_d30"]),
    help="How much data the feed sends per instrument.  [default: TICKLINE_MODE, full]",
)
@click.option(
    "--publish", is_flag=True, help="Also send the journal through the broker of TICKLINE_NATS_URL.  [TICKLINE_PUBLISH]"
)
@click.option(
    "--for", "for_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after this time."
)
def command(keys: tuple[str, ...], path: Path | None, mode: str | None, publish: bool, for_s: float | None) -> None:
    """Record the live feed of KEYS into the journal, and serve it to `tickline write`; no database is needed.

    A KEY is an instrument key (NSE_FO|53001). Names such as INFY, TICKLINE_UNDERLYINGS, bars, signals, repair by REST
    and the evening jobs need a database, so `collect` has none of them. Without KEYS and files it records what
    `tickline write` gives it: that spreads one universe over all collectors. Or write the keys where the database is
    (`tickline universe show --format csv`) and copy the file here; it is read again when it changes.

    Status, health, metrics and the stream of ticks are those of `tickline start`. The journal is served on
    TICKLINE_JOURNAL_HOST, port TICKLINE_JOURNAL_PORT (127.0.0.1, 8791). Segments are deleted when the database of the
    writer has them. With --publish the journal also goes through NATS JetStream (TICKLINE_NATS_URL, tickline[nats]).
    """
    from ingest.cli.progress import ProgressLine
    from ingest.cli.record.start import report, say_if_never_connected, settle
    from ingest.env_file import ENV_FILE
    from ingest.live.access import warn_if_shared
    from ingest.live.distributed.serving import may_be_given_keys
    from ingest.live.stop import stop_signals
    from ingest.live.supervisor import Run, start
    from ingest.settings import settings
    from ingest.universe.key_file import keys_without_database

    given: dict[str, Any] = {"mode": mode, "universe_file": path, "publish": publish or None}
    given |= {"universe": keys, "underlyings": ()} if keys else {}
    config = settings(**{name: value for name, value in given.items() if value is not None})
    if keys and path is None:
        config = config.model_copy(update={"universe_file": None})
    warn_if_shared(ENV_FILE)
    config.token()
    wanted = keys_without_database(config, may_be_given=may_be_given_keys(config))

    async def collect() -> Run:
        with stop_signals(for_s=for_s) as stop:
            show = ProgressLine(every_s=60, first_s=10)
            return await start(config, None, wanted, stop=stop, show=show, ready=lambda _: settle())

    running = asyncio.run(collect())
    report(running, config)
    if for_s is not None and say_if_never_connected(running):
        sys.exit(1)
