"""The access token in use, and where a new one comes from.

A token expires at 03:30 IST. A token that the vendor refused is not sent again for `RETRY_S`; meanwhile
the environment and `.env`, where `tickline login` stores a new one, are checked. The token appears in
no log line and no error.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.env_file import ENV_FILE, read_env
from ingest.errors import ConfigError
from ingest.redaction import hide
from ingest.settings import Settings, clean_token
from ingest.time_source import TimeSource

log = logging.getLogger(__name__)

NAME = "UPSTOX_ACCESS_TOKEN"
DAILY = timedelta(days=2)  # users do not renew a token that lives longer every day
RETRY_S = 300.0  # the vendor has refused good tokens; asking twelve times an hour is no hammering


class Tokens:
    """The tokens of one process.

    Parameters
    ----------
    settings
        Contain the first token, and how often to look for a new one.
    time_source
        Clock and waits.

    Raises
    ------
    ConfigError
        If there is no token.
    """

    def __init__(self, settings: Settings, time_source: TimeSource) -> None:
        self._time_source = time_source
        self._poll_s = settings.token_poll_s
        self._file = ENV_FILE.absolute()
        self._current = settings.token().get_secret_value()
        self._refused: dict[str, float] = {}  # token -> when, monotonic seconds
        self._said = ""  # the refused token that was reported last
        self._unread = ""  # why no new token can be read

    def current(self) -> str:
        """Return the token to send."""
        return self._current

    @property
    def ends_at(self) -> datetime | None:
        """When the token in use ends, as it says itself (`exp` of a JWT, RFC 7519), aware UTC; None: it does not."""
        return times_of(self._current)[1]

    @property
    def is_long(self) -> bool:
        """Whether the token lives for longer than a daily one, as it says itself."""
        begins, ends = times_of(self._current)
        return begins is not None and ends is not None and ends - begins > DAILY

    @property
    def is_refused(self) -> bool:
        """Whether the vendor has refused the token in use, and it is not sent again yet."""
        return self._is_refused(self._current)

    def refuse(self, token: str) -> None:
        """Note that the vendor refused a token."""
        self._refused[token] = self._time_source.monotonic()

    def is_news(self) -> bool:
        """Return whether to report that the token was refused: once for each token, whoever asks."""
        said, self._said = self._said, self._current
        return said != self._current

    async def renewed(self) -> None:
        """Wait until there is a token to try: a new one, or the old one after a pause."""
        while True:
            if self._choose():
                return
            await self._time_source.sleep(self._poll_s)

    def _choose(self) -> bool:
        for token in self._candidates():
            if not self._is_refused(token):
                self._current = token
                return True
        return False

    def _is_refused(self, token: str) -> bool:
        at_s = self._refused.get(token)
        return at_s is not None and self._time_source.monotonic() - at_s < RETRY_S

    def _candidates(self) -> Iterator[str]:
        """Yield the tokens to try, those most likely to be new first: a running process's environment never changes."""
        for token in (self._stored(), os.environ.get(NAME), self._current):
            if token:
                yield token

    def _stored(self) -> str | None:
        """Return the token in `.env`; None: there is none, or it cannot be read, which is logged once."""
        unread, token = "", None
        try:
            if given := read_env(self._file).get(NAME):
                token = clean_token(given)
                hide(token)
        except (ConfigError, ValueError) as exc:
            unread = str(exc)
        if unread and unread != self._unread:
            log.error("no new token can be read, trying again in_s=%g error=%s", self._poll_s, unread)
        self._unread = unread
        return token


def times_of(token: str) -> tuple[datetime | None, datetime | None]:
    """Return when a token was issued and when it ends (`iat` and `exp` of a JWT); None: it does not say so.

    The signature is not checked: only the vendor has the key, and only the vendor decides.
    """
    try:
        part = token.split(".")[1]
        claims: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return _time(claims.get("iat")), _time(claims.get("exp"))
    except (IndexError, ValueError, binascii.Error, AttributeError, RecursionError):
        return None, None


def _time(value: object) -> datetime | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None
