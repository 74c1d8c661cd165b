"""Leased work: what one process per database does at a time, the holder of its lease, in `start` and `write` alike.

Nothing here carries ticks. A holder that dies or freezes is followed by another within seconds, and each part may be
done twice, so a holder that wakes up harms nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from ingest.errors import ConfigError, Retryable, StoreError, first_error
from ingest.last_error import LastErrors
from ingest.live.fence import Fence
from ingest.store.lease import DatabaseLease
from ingest.worker_thread import in_background

log = logging.getLogger(__name__)

ONCE = "once per database"  # bars; of a writer also lists, evening jobs, and which collector has which keys
REPAIR = "repair"  # bars by REST; a lease of its own, because not every process has a token
TRY_S = 10.0  # how long one try waits for a lease that another holds
LOOK_S = 0.5  # between two looks whether it is lost
AWAY_S = 0.5  # between two looks whether the database is back, or this process can do the work
GIVE_BACK_S = 0.5  # how long a stop waits until the session has ended; a server that hangs must not delay it


class LeaseGoneError(StoreError):
    """Another process may do this work now."""


class LeasedWork:
    """Background tasks that run while this process holds a lease of the database.

    Parameters
    ----------
    name
        Of the lease.
    url
        Database URL.
    parts
        Name of each task -> its work. All begin when the lease is taken, and are cancelled when it is lost.
    fence, errors
        Contain and note the failures of the parts.
    is_database_away
        Returns whether the database is known to be away: then the lease is not asked for.
    may_work
        Returns whether this process can do the work; one that cannot gives the lease back.

    Attributes
    ----------
    is_held
        Whether this process does the work now.
    """

    def __init__(
        self,
        name: str,
        url: str,
        parts: Mapping[str, Callable[[], Awaitable[None]]],
        fence: Fence,
        errors: LastErrors,
        *,
        is_database_away: Callable[[], bool] = lambda: False,
        may_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name, self.is_held = name, False
        self._url, self._parts = url, parts
        self._fence, self._errors = fence, errors
        self._is_database_away, self._may_work = is_database_away, may_work

    async def run(self) -> None:
        """Do the work whenever this process holds the lease, until cancelled."""
        while True:
            if self._is_database_away() or not self._may_work():
                await asyncio.sleep(AWAY_S)
                continue
            lease = DatabaseLease(self._url, self.name)
            try:
                if await self._is_taken(lease):
                    await self._work(lease)
            except* LeaseGoneError as gone:
                log.warning("another process may do its work lease=%r error=%s", self.name, first_error(gone))
            finally:
                closing = asyncio.wrap_future(in_background("lease", lease.close))
                await asyncio.wait({closing}, timeout=GIVE_BACK_S)

    async def _is_taken(self, lease: DatabaseLease) -> bool:
        """Try for a time to take the lease; return whether it is held."""
        error = self._errors.of(f"lease {self.name!r}")
        try:
            is_taken = await asyncio.wrap_future(in_background("lease", lease.take, TRY_S))
        except (StoreError, ConfigError) as exc:
            log.debug("lease not taken, trying again in_s=%g lease=%r error=%s", AWAY_S, self.name, exc)
            if not isinstance(exc, Retryable):  # an outage is noted by who commits
                error.happened(exc)
            await asyncio.sleep(AWAY_S)
            return False
        error.over()
        return is_taken

    async def _work(self, lease: DatabaseLease) -> None:
        log.info("lease is held lease=%r work=%s", self.name, ",".join(self._parts))
        self.is_held = True
        try:
            async with asyncio.TaskGroup() as group:
                for name, part in self._parts.items():
                    group.create_task(self._fence.keep(name, part), name=name)
                while not lease.is_lost and self._may_work():  # noqa: ASYNC110  a thread finds out that it is lost
                    await asyncio.sleep(LOOK_S)
                raise LeaseGoneError("lease is lost" if lease.is_lost else "its work cannot be done here now")
        finally:
            self.is_held = False
            for name in self._parts:
                self._errors.of(name).over()  # whether it fails now is known to who does it now
