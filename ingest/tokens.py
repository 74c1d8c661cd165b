"""Tokens: the access token in force, and where a new one comes from.

A token ends at 03:30 IST. One that the vendor refused is not sent again for `RETRY_S`; meanwhile the
environment and `.env`, where `tickline login` puts a new one, are looked at. The token appears in no
log line and no error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values

from ingest.config import Settings
from ingest.timepiece import Timepiece

NAME = "UPSTOX_ACCESS_TOKEN"
RETRY_S = 300.0  # the vendor has refused good tokens; asking twelve times an hour is no hammering


class Tokens:
    """The tokens of one process.

    Parameters
    ----------
    settings
        Hold the first token, and how often a new one is looked for.
    timepiece
        What time it is.

    Raises
    ------
    ConfigError
        If there is none.
    """

    def __init__(self, settings: Settings, timepiece: Timepiece) -> None:
        self._timepiece = timepiece
        self._poll_s = settings.token_poll_s
        self._file = Path(str(settings.model_config.get("env_file")))
        self._current = settings.token().get_secret_value()
        self._refused: dict[str, float] = {}  # token -> when, monotonic seconds
        self._said = ""  # the one of which was said that it was refused

    def current(self) -> str:
        """Return the token to send."""
        return self._current

    def refuse(self, token: str) -> None:
        """Note that the vendor refused a token."""
        self._refused[token] = self._timepiece.monotonic()

    def is_news(self) -> bool:
        """Whether it is to be said that the token was refused: once of each, whoever asks."""
        said, self._said = self._said, self._current
        return said != self._current

    async def renewed(self) -> None:
        """Wait until there is a token to try: a new one, or the old one when it has rested."""
        while True:
            if self._choose():
                return
            await self._timepiece.sleep(self._poll_s)

    def _choose(self) -> bool:
        now = self._timepiece.monotonic()
        for token in self._candidates():
            if now - self._refused.get(token, -RETRY_S) >= RETRY_S:
                self._current = token
                return True
        return False

    def _candidates(self) -> Iterator[str]:
        """Yield what may be tried, the likeliest to be new first: a running process's environment never changes."""
        for token in (dotenv_values(self._file).get(NAME), os.environ.get(NAME), self._current):
            if token:
                yield token
