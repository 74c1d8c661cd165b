"""Checks of recording: whether an ingester runs, is connected and gets prices; whether the plan fits the account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ingest.database.connections import HEAD
from ingest.doctor.findings import State, failure, fine, warning
from ingest.doctor.installation import Installation, NotCheckedError
from ingest.errors import ConfigError
from ingest.own_api import HEALTH, STATUS, TICKS, WRITER
from ingest.universe.connection_plan import AccountLimits, plan
from ingest.universe.keeper import UniverseKeeper

NOT_RUNNING = "no ingester runs"


def check_running(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that an ingester answers, and what it says of its health."""
    port = installation.settings.api_port
    health = installation.answer(HEALTH)  # raises if another program answers
    if health is None:
        yield warning(f"{NOT_RUNNING}, nothing answers on port {port}", "run `tickline start`")
        return
    for problem in health["problems"]:
        yield failure(problem, "see `tickline status`")
    for text in health["warnings"]:
        yield warning(text, "see `tickline status`")
    if not health["problems"]:
        what = "a writer" if installation.answer(WRITER) is not None else health["environment"]
        yield fine(f"on port {port}, {health['status']}, {what}")


def check_connected(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the running ingester is connected to the feed, or need not be; of a writer, whom it writes."""
    if (writer := installation.answer(WRITER)) is not None:
        written = (f"{one['collector'] or one['source']}: {one['state']}" for one in writer["collectors"])
        yield fine(f"collectors: {', '.join(written)}")
        return
    status = installation.answer(STATUS)
    if status is None:
        raise NotCheckedError(NOT_RUNNING)
    states = ", ".join(f"{one['name']}: {one['state']}" for one in status["connections"])
    if status["websocket_connected"]:
        yield fine(states)
    elif status["segments"] and all(state == "closed" for state in status["segments"].values()):
        yield fine(f"the market is closed; {states}")
    else:
        yield warning(f"not all connections are open: {states or 'there is none'}", "see `tickline status`")


def check_symbols(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check how many keys are tracked, and that prices are updated; of a writer, how much it has committed."""
    if (writer := installation.answer(WRITER)) is not None:
        streams = [stream for one in writer["collectors"] for stream in one["streams"].values()]
        yield fine(f"{sum(stream['ticks'] for stream in streams):,} ticks committed here since the start")
        return
    status, ticks = installation.answer(STATUS), installation.answer(TICKS)
    if status is None or ticks is None:
        raise NotCheckedError(NOT_RUNNING)
    wanted = status["subscriptions"]["total_symbols"]
    tracked, updates = ticks["symbols_tracked"], ticks["price_updates"]
    said = f"{tracked:,} of {wanted:,} symbols tracked, {updates:,} price updates since the start"
    if failed := status["subscriptions"]["failed_count"]:
        yield warning(f"{failed:,} keys are not answered by the feed", "run `tickline status --retry`")
    if wanted and not updates:
        yield warning(said, "wait for the market to open; then see `tickline status subscriptions`")
    else:
        yield fine(said)


def check_plan(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the keys of the settings fit into the account's connections; asks the vendor nothing."""
    config = installation.settings
    if not config.universe and not config.underlyings:
        if collector := installation.collector():
            yield fine(f"a collector runs, which records {collector['subscriptions']['total_symbols']:,} keys now")
            return
        yield warning("the settings name nothing to record", "set TICKLINE_UNIVERSE, or name keys to `tickline start`")
        return
    if installation.database_status.revision != HEAD:
        raise NotCheckedError("the database has no schema of this program")
    keeper, now = UniverseKeeper(config, installation.database.url, stores_names=False), installation.now()
    try:
        found = keeper.look(now)
    except ConfigError:
        if keeper.listed_at is not None:
            raise
        yield warning("no instrument master is loaded, so names mean nothing", "run `tickline universe refresh`")
        return
    if found.unpriced:
        found = keeper.supposed(found, now)
    account = AccountLimits.of(plus=config.plus, connections_max=config.connections_max, standby=config.standby)
    made = plan(found.keys, account)  # raises if they do not fit
    modes = ", ".join(f"{count:,} {mode}" for mode, count in Counter(found.keys.values()).items())
    yield fine(f"{len(found.keys):,} keys ({modes}) on {len(made.connections)} connection(s) of {account}")
