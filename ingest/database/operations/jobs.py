"""Background jobs of the database: their runs, and their last errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from ingest.database.connections import recorded_engine
from ingest.database.queries import query


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A background job of the database; `fails`: no run has succeeded since the last error."""

    job_id: int
    relation: str | None
    job: str
    every: str
    runs: int
    failures: int
    last_run: datetime | None
    next_run: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    fails: bool

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"database job {self.job_id}, {self.job}" + (f" of {self.relation}" if self.relation else "")


def jobs_of(connection: psycopg.Connection[Any]) -> list[JobStatus]:
    """Return the jobs of the schema's engine; only TimescaleDB has some."""
    if recorded_engine(connection) != "timescale":
        return []
    with connection.cursor(row_factory=class_row(JobStatus)) as cursor:
        return cursor.execute(query("status/jobs.timescale")).fetchall()
