"""Statistics for the planner that no autovacuum makes: those of a partitioned table as a whole."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql as psql

from ingest.database.queries import query

ONLY_SINCE = 180_000  # server version from which the partitions, which autovacuum analyzes, can be left out


def analyze_parents(connection: psycopg.Connection[Any]) -> None:
    """Analyze the partitioned tables; the server skips those of another owner with a warning.

    Parameters
    ----------
    connection
        An autocommit connection.
    """
    statement = "analyze only {}" if connection.info.server_version >= ONLY_SINCE else "analyze {}"
    for schema, name in connection.execute(query("database/partitioned_tables")).fetchall():
        connection.execute(psql.SQL(statement).format(psql.Identifier(schema, name)))
