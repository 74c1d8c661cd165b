"""Where to read: on the server of `TICKLINE_READ_DATABASE_URL`, or on the primary while that one is no use.

Owns the choice, and the words for a replica that is away or behind. A server is asked once in `ASKED_S`, however often
somebody reads; one that is only another login on the primary is never asked. The login is the reader's in both
places, because a replica has its primary's roles. Must not know what is read.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from ingest.database.reach import parts_of, place_of
from ingest.database.server.standby import Standing, standing
from ingest.database.translation import first_line, translated
from ingest.errors import Retryable

log = logging.getLogger(__name__)

SETTING = "TICKLINE_READ_DATABASE_URL"
ASKED_S = 5.0  # a replica that dies is noticed after this long by a program that reads again and again
# A replica that does not answer a connection in time is away; libpq's own settings in the URL win.
GIVEN: dict[str, Any] = {"connect_timeout": 5, "application_name": "tickline"}
CAUGHT_UP_S, CAUGHT_UP_POLL_S = 30.0, 0.05  # for what must have all rows of the primary
LAG_S_WARN = 10.0  # a replica further behind is read with a warning
SERVER_WORDS = ("host", "hostaddr", "port")
LOGIN_WORDS = ("user", "password", "passfile", "sslcert", "sslkey", "sslpassword", "channel_binding", "require_auth")


@dataclass(frozen=True, slots=True)
class Replica:
    """What was found out about the server for reading.

    Attributes
    ----------
    place
        Its host and port.
    standing
        What it says; None: it does not answer.
    error
        Why it should not be read: it does not answer, or is too far behind; "": it may be read.
    """

    place: str
    standing: Standing | None
    error: str = ""


class ReadingPlace:
    """The server to read from, and the primary.

    Parameters
    ----------
    url, primary_url
        libpq URLs of the server for reading, and of the primary.
    lag_s_max
        How far a replica may be behind, seconds; 0: any.
    falls_back
        Whether to read from the primary while the replica should not be read.
    """

    def __init__(self, url: str, primary_url: str, *, lag_s_max: float, falls_back: bool) -> None:
        self._url, self._lag_s_max, self.falls_back = url, lag_s_max, falls_back
        known, primary = parts_of(url, SETTING), parts_of(primary_url)
        self.is_other_server = any(known.get(word) != primary.get(word) for word in SERVER_WORDS)
        login = {word: known[word] for word in LOGIN_WORDS if word in known}
        self._primary_url = make_conninfo("", **{w: v for w, v in primary.items() if w not in LOGIN_WORDS} | login)
        self._lock = threading.Lock()
        self._asked_at = -float("inf")  # by the monotonic clock
        self._found = Replica(place_of(known), None)
        self._said = ""

    @property
    def url(self) -> str:
        """URL to read from now. Blocks while the server is asked.

        Raises
        ------
        Retryable
            If the replica is away or too far behind, and reading may not go to the primary.
        """
        if not self.is_other_server:
            return self._url
        with self._lock:
            if time.monotonic() - self._asked_at >= ASKED_S:
                self._found = self.ask()
                self._asked_at = time.monotonic()
                self._say(self._found)
            found = self._found
        if not found.error:
            return self._url
        if self.falls_back:
            return self._primary_url
        raise Retryable(f"{found.error}: {self._remedy(found)}, or set TICKLINE_READ_FALLBACK=true to read the primary")

    def url_with(self, position: int) -> str:
        """URL of a server that has the primary's log up to a position, bytes; waits for a replica that has not.

        Raises
        ------
        Retryable
            As `url`; also if the replica does not get there in time, and reading may not go to the primary.
        """
        url = self.url
        if url != self._url or not self.is_other_server:
            return url
        with translated(), psycopg.connect(url, autocommit=True) as connection:
            deadline = time.monotonic() + CAUGHT_UP_S
            while not standing(connection).has_all_until(position):
                if time.monotonic() > deadline:
                    break
                time.sleep(CAUGHT_UP_POLL_S)
            else:
                return url
        if self.falls_back:
            return self._primary_url
        raise Retryable(
            f"replica at {self._found.place!r} has not replayed what the primary had {CAUGHT_UP_S:g} s ago: see "
            "`tickline db status`, or set TICKLINE_READ_FALLBACK=true to read the primary"
        )

    def ask(self) -> Replica:
        """Ask the server for reading; never raises because of its state."""
        known = parts_of(self._url, SETTING)
        place, given = place_of(known), {word: value for word, value in GIVEN.items() if word not in known}
        try:
            # Not as other connections are opened: those wait for a server that is starting.
            with psycopg.connect(self._url, autocommit=True, **given) as connection:
                found = standing(connection)
        except psycopg.Error as exc:
            return Replica(place, None, f"replica at {place!r} does not answer: {first_line(exc)}")
        return Replica(place, found, self._too_far(place, found))

    def _too_far(self, place: str, found: Standing) -> str:
        """Return how a replica is further behind than it may be; "": it is not."""
        lag_s, limit_s = found.lag_s, self._lag_s_max
        if not limit_s or (lag_s is not None and lag_s <= limit_s):
            return ""
        behind = "an unknown time" if lag_s is None else f"{lag_s:,.0f} s"
        why = "".join(f" ({one})" for one in found.reasons())
        return f"replica at {place!r} is {behind} behind its primary{why}, more than {limit_s:g} s"

    def _remedy(self, found: Replica) -> str:
        if found.standing is None:
            return f"start it or correct {SETTING}"
        return "see `tickline db status`, raise TICKLINE_READ_LAG_S_MAX"

    def _say(self, found: Replica) -> None:
        """Log once what is wrong, and once that it is over."""
        lag_s = found.standing.lag_s if found.standing else None
        if found.error and self.falls_back:
            said = f"{found.error}: reading from the primary"
        elif not found.error and found.standing is not None and (lag_s is None or lag_s > LAG_S_WARN):
            said = f"replica at {found.place!r} is behind its primary, newer rows are missing: {found.standing.text()}"
        else:
            said = ""
        if said and not self._said:
            log.warning("%s", said)
        elif self._said and not said and not found.error:
            log.info("replica is read again place=%r", found.place)
        self._said = said
