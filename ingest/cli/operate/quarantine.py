"""`tickline quarantine`: list frames that could not be used, and replay them after a fix."""

from __future__ import annotations

import json

import click


@click.group("quarantine")
def command() -> None:
    """List frames that could not be used, and replay them after a fix.

    A frame goes into quarantine if it does not parse, or if its time does not fit the frames around it.
    """


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Show at most this many.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(limit: int, form: str) -> None:
    """List quarantined frames, oldest first, with the reason for each."""
    from ingest.database.readiness import ready_database
    from ingest.market.shown_time import ist, jsonable
    from ingest.repair.quarantine import left_out, quarantined
    from ingest.settings import settings

    with ready_database(settings()) as database, database.connect() as connection:
        frames, total = quarantined(connection, limit)
        beyond = left_out(connection)
    if form == "json":
        click.echo(json.dumps([frame._asdict() for frame in frames], default=jsonable, indent=2))
        return
    for frame in frames:
        click.echo(
            f"{ist(frame.received_at)}  {frame.collector} {frame.segment} seq {frame.seq}  "
            f"{frame.bytes:,} bytes: {frame.reason}"
        )
    click.echo(f"{total:,} frames in quarantine" + (f"; showing the oldest {limit:,}" if total > limit else ""))
    if beyond:
        click.echo(
            f"{beyond:,} more are only counted, beyond TICKLINE_QUARANTINE_BYTES_PER_DAY_MAX: the journal has them"
        )


@command.command("replay")
def replay_command() -> None:
    """Write the frames that can now be decoded; the others stay.

    Writes each exactly once. Stores their updates as quotes without volume, because the update after each has
    already counted it. May run beside `tickline start`.
    """
    from ingest.database.pool import run_with_pool
    from ingest.database.readiness import ready_database
    from ingest.repair.quarantine import replay_quarantined
    from ingest.settings import settings
    from ingest.store.bar_refresh import refresh_touched

    config = settings()
    with ready_database(config) as database:
        with database.connect(autocommit=True, application_name="tickline quarantine") as connection:
            outcome = replay_quarantined(connection, unknown_keys_max=config.unknown_keys_per_day_max)
        run_with_pool(database.url, refresh_touched)
    click.echo(
        f"{outcome.replayed:,} frames replayed, {outcome.ticks:,} ticks written, {outcome.rejected:,} updates "
        f"rejected; {outcome.refused:,} frames stay in quarantine"
    )
