"""Settings of the broker: its addresses, who we are there, and what our streams have. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from ingest.addresses import is_loopback
from ingest.errors import ConfigError

PREFIXES = ("nats://", "tls://")


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is, and what its streams are like.

    Attributes
    ----------
    urls
        nats:// or tls:// addresses of its nodes; user and password, or a token, percent-encoded, in one or all of them.
    authority
        PEM file with the authority of their certificates; None: those of the system.
    replicas
        On how many nodes each block is stored, 1 to 5.
    bytes_max
        Room of a collector's stream; when it is full of what is not committed, publishing waits.
    """

    urls: tuple[str, ...]
    authority: Path | None = None
    replicas: int = 1
    bytes_max: int = 2**33

    @classmethod
    def of(cls, urls: str | None, authority: Path | None, replicas: int, bytes_max: int) -> Self:
        """Return the settings of `TICKLINE_NATS_…`; `urls` are divided by commas. Raises as `check` does."""
        if not urls:
            raise ConfigError("setting TICKLINE_NATS_URL is not set: name the broker, such as nats://127.0.0.1:4222")
        found = cls(tuple(one.strip() for one in urls.split(",")), authority, replicas, bytes_max)
        found.check()
        return found

    def check(self) -> None:
        """Raise ConfigError if an address is none, or would carry journal and password unencrypted."""
        for url in self.urls:
            try:
                parts = urlsplit(url)
                is_address = bool(url.startswith(PREFIXES) and parts.hostname and parts.port != 0)
            except ValueError:
                is_address = False
            if not is_address or parts.path.strip("/") or parts.query or parts.fragment:
                raise ConfigError(
                    "setting TICKLINE_NATS_URL is no address of a broker: write it as tls://user:password@host:4222, "
                    "and other characters of a password than letters and digits as %XX (@ is %40)"
                )
            if parts.scheme == "nats" and not is_loopback(parts.hostname or ""):
                raise ConfigError(
                    f"broker at {parts.hostname!r} would get the journal and the password unencrypted: use tls:// in "
                    "TICKLINE_NATS_URL, see TICKLINE_NATS_CA"
                )
        if len({one for url in self.urls if (one := urlsplit(url).netloc.rpartition("@")[0])}) > 1:
            raise ConfigError("addresses in TICKLINE_NATS_URL have different users: give all the same one")

    @property
    def places(self) -> list[str]:
        """The addresses without user and password."""
        return [f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" for parts in map(urlsplit, self.urls)]

    def login(self) -> dict[str, str]:
        """Return user and password, or a token, as the library's options; it would send what is encoded as it stands.

        Answers to a user come on subjects of its own, so that the broker may let it hear no other's.
        """
        for parts in map(urlsplit, self.urls):
            if parts.username and parts.password is None:
                return {"token": unquote(parts.username)}
            if parts.username:
                user = unquote(parts.username)
                inbox = "_INBOX." + re.sub(r"[^\w-]", "-", user, flags=re.ASCII)
                return {"user": user, "password": unquote(parts.password or ""), "inbox_prefix": inbox}
        return {}
