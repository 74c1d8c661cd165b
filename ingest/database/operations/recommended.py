"""Server settings that we recommend, each with the reason.

Owns the list, and which values are good enough. Must not know how the settings are read or shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MB = 2**20
SHARED_BUFFERS_SHARE_MAX = 0.4  # of the memory; the rest is the kernel's cache, sorts and the ingester
WORKERS_BESIDE = 3  # worker processes besides jobs and parallel queries: TimescaleDB's launcher, replication, one spare


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """A setting in force."""

    name: str
    value: str  # as the server shows it
    amount: float | None  # of a number: bytes, or its own unit; None: not a number
    restart_is_pending: bool  # the configuration has another value, which needs a restart


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that differs from what we recommend."""

    name: str
    value: str
    recommended: str
    why: str


@dataclass(frozen=True, slots=True)
class _Recommendation:
    """What we recommend; `is_met` gets the amounts of all settings, by name, and the memory in bytes."""

    name: str
    recommended: str
    why: str
    is_met: Callable[[ServerSetting, Mapping[str, float], int | None], bool]


def _is(value: str) -> Callable[[ServerSetting, Mapping[str, float], int | None], bool]:
    return lambda found, amounts, memory: found.value == value


def _is_not(value: str) -> Callable[[ServerSetting, Mapping[str, float], int | None], bool]:
    return lambda found, amounts, memory: found.value != value


def _at_least(amount: float) -> Callable[[ServerSetting, Mapping[str, float], int | None], bool]:
    return lambda found, amounts, memory: (found.amount or 0) >= amount


def _share_of_memory(found: ServerSetting, amounts: Mapping[str, float], memory: int | None) -> bool:
    size = found.amount or 0
    return size >= 256 * MB and (memory is None or size <= memory * SHARED_BUFFERS_SHARE_MAX)


def _has_room_for_jobs(found: ServerSetting, amounts: Mapping[str, float], memory: int | None) -> bool:
    jobs, parallel = amounts.get("timescaledb.max_background_workers"), amounts.get("max_parallel_workers", 0)
    return jobs is None or (found.amount or 0) >= jobs + parallel + WORKERS_BESIDE


_LIMIT = "the URL's options or PGOPTIONS set it, and a refresh or a replay may take minutes"
RECOMMENDATIONS = (
    _Recommendation("fsync", "on", "a power cut can destroy the database", _is("on")),
    _Recommendation("full_page_writes", "on", "a power cut can leave half-written pages", _is("on")),
    _Recommendation("data_checksums", "on", "a page that the disk damaged is read without an error", _is("on")),
    _Recommendation(
        "synchronous_commit", "on", "only our writer's sessions set it; a crash costs other commits", _is_not("off")
    ),
    _Recommendation("autovacuum", "on", "tables grow and plans get worse without it", _is("on")),
    _Recommendation("track_counts", "on", "autovacuum needs it", _is("on")),
    _Recommendation(
        "shared_buffers", "256MB to 40 % of the memory", "indexes of the day stay in memory", _share_of_memory
    ),
    _Recommendation("work_mem", "16MB or more", "ticks are grouped into bars in memory", _at_least(16 * MB)),
    _Recommendation("max_wal_size", "2GB or more", "frequent checkpoints slow the writer down", _at_least(2048 * MB)),
    _Recommendation("wal_compression", "on, or a method", "it halves the log of full pages", _is_not("off")),
    _Recommendation("jit", "off", "compiling takes longer than queries of milliseconds", _is("off")),
    _Recommendation("default_transaction_read_only", "off", "nothing can be written", _is("off")),
    _Recommendation("statement_timeout", "0", _LIMIT, _is("0")),
    _Recommendation("lock_timeout", "0", _LIMIT, _is("0")),
    _Recommendation("transaction_timeout", "0", _LIMIT, _is("0")),
    _Recommendation("idle_in_transaction_session_timeout", "0", _LIMIT, _is("0")),
    _Recommendation("idle_session_timeout", "0", _LIMIT, _is("0")),
    _Recommendation(
        "timescaledb.max_background_workers", "8 or more", "jobs of all databases share them", _at_least(8)
    ),
    _Recommendation(
        "max_worker_processes",
        "max_parallel_workers + timescaledb.max_background_workers + 3",
        "jobs fail when none is free",
        _has_room_for_jobs,
    ),
)
NAMES = [*(one.name for one in RECOMMENDATIONS), "max_parallel_workers"]


def differences(found: list[ServerSetting], memory_bytes: int | None) -> list[Difference]:
    """Return the settings that differ from what we recommend, and those that wait for a restart.

    Parameters
    ----------
    found
        The settings in force, of `NAMES`; one that the server does not have is left out.
    memory_bytes
        Memory of the server's machine; None: unknown.
    """
    settings = {one.name: one for one in found}
    amounts = {one.name: one.amount for one in found if one.amount is not None}
    result = []
    for one in RECOMMENDATIONS:
        setting = settings.get(one.name)
        if setting is not None and not one.is_met(setting, amounts, memory_bytes):
            result.append(Difference(one.name, setting.value, one.recommended, one.why))
    pending = [one for one in found if one.restart_is_pending]
    return result + [
        Difference(one.name, one.value, "restart the server", "its configuration has another value") for one in pending
    ]
