"""Checks of the database: server, engine, extension and licence, schema, roles, jobs, settings, replica, ticks."""

from __future__ import annotations

from collections.abc import Iterable

from ingest.database.connections import HEAD, UPGRADE, check_engine, translated
from ingest.database.queries import query
from ingest.database.server.reading import LAG_S_WARN
from ingest.doctor.findings import State, failure, fine, warning
from ingest.doctor.installation import Installation, NoDatabaseYetError
from ingest.market.shown_time import ist


def check_server(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the database can be reached; the embedded server is started, as each command does."""
    try:
        installation.open_database()
    except NoDatabaseYetError:
        if installation.collector():
            yield fine("none is needed: a collector runs, whose journal writers commit")
            return
        place = installation.settings.home / "postgres"
        yield warning(f"none yet at {place}", "run `tickline db upgrade` or `tickline start`, which make it")
        return
    found = installation.database_status
    yield fine(f"PostgreSQL {found.server_version}, database {found.database} ({found.place})")


def check_extension(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the engine, and for TimescaleDB its version and licence."""
    found, config = installation.database_status, installation.settings
    if found.engine is None:
        yield warning("no engine chosen yet", f"{UPGRADE}, or start recording")
        return
    check_engine(found.engine, config.engine)  # raises
    if not found.uses_timescaledb:
        yield fine(f"{found.engine}: plain PostgreSQL, the same relations")
        return
    said = f"{found.engine}: TimescaleDB {found.timescaledb_version}, licence {found.timescaledb_licence}"
    if found.has_wrong_licence:
        yield failure(said, "install TimescaleDB's Community edition and set timescaledb.license = 'timescale'")
    else:
        yield fine(said)


def check_schema(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the revision of the schema."""
    found = installation.database_status
    if found.revision is None:
        yield warning("none yet", f"{UPGRADE}, or start recording")
    elif found.revision < HEAD:
        yield failure(f"{found.revision}, older than this program's {HEAD}", UPGRADE)
    elif found.revision > HEAD:
        yield failure(f"{found.revision}, newer than this program's {HEAD}", "install a newer tickline")
    else:
        yield fine(found.revision)


def check_roles(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the ingester's login may write, and is no superuser."""
    found = installation.database_status
    with translated(), installation.database.connect(autocommit=True) as connection:
        row = connection.execute("select current_user::text, usesuper from pg_user where usename = current_user")
        login, is_superuser = row.fetchone() or ("?", False)
        memberships = connection.execute(
            "select rolname::text from pg_roles where pg_has_role(current_user, oid, 'usage')"
        ).fetchall()
    own = {name for (name,) in memberships}
    if is_superuser:
        yield warning(f"login {login!r} is a superuser", "run `tickline db upgrade --with-roles`, use tickline_writer")
    elif found.roles and not any(one.writes for one in found.roles if one.role in own):
        yield failure(f"login {login!r} may not write", "use the login of tickline_writer in TICKLINE_DATABASE_URL")
    else:
        yield fine(f"login {login!r}")


def check_jobs(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the background jobs of the database succeed."""
    found = installation.database_status
    failing = [job for job in found.jobs if job.fails]
    for job in failing:
        error = " ".join((job.last_error or "").split())
        yield warning(f"{job.name} fails: {error}", "see `tickline db status` and the server's log")
    if not failing:
        yield fine(f"{len(found.jobs)} jobs" if found.jobs else "none on this engine")


def check_server_settings(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the settings of the server that differ from what is recommended."""
    differing = installation.database_status.settings
    for one in differing:
        yield warning(f"{one.name} is {one.value}: {one.why}", f"set it to {one.recommended}")
    if not differing:
        yield fine("as recommended")


def check_replica(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check the server for reading, if it is another one: that it is there, a copy of the primary, and not behind."""
    found = installation.database_status.reading
    if found is None:
        yield fine("none: reading goes to the server of TICKLINE_DATABASE_URL")
    elif found.error:
        then = "reading goes to the primary meanwhile" if found.falls_back else "reading fails"
        yield warning(f"{found.error}; {then}", "see `tickline db status` and the log of the replica")
    elif found.is_standby and (found.lag_s is None or found.lag_s > LAG_S_WARN):
        yield warning(f"{found.place}: {found.standing}", "see the log of the replica")
    else:
        yield fine(f"{found.place}: {found.standing}")


def check_ticks(installation: Installation) -> Iterable[tuple[State, str, str]]:
    """Check that the database has ticks, and how old the newest is."""
    found = installation.database_status
    if found.revision != HEAD:
        yield warning("not checked: the schema is not this program's")
        return
    with translated(), installation.database.connect(autocommit=True) as connection:
        row = connection.execute(query("signals/newest_tick")).fetchone()
    newest = row[0] if row else None
    if newest is None:
        yield warning("none yet", "run `tickline start` while the market is open, or `tickline replay FILE`")
        return
    count = next((one.rows for one in found.relations if one.name == "ticks"), 0)
    about = f"about {count:,}; " if count else ""
    yield fine(f"{about}newest {ist(newest.replace(microsecond=0))}")
