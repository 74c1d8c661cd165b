"""The way to a server: asyncpg goes where libpq has gone, so that every form of a URL reaches every reader.

Owns what asyncpg is told. It parses URLs by rules of its own: hosts that are tried in turn, `hostaddr`, service files,
password files and variables of the environment differ or are missing. So libpq connects first, and is asked what it
used. Must not know what is read.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlencode

import asyncpg
import psycopg

from ingest.database.reach import CONNECT_SECONDS_MAX
from ingest.database.sessions import pin_statement

# Words about encryption and Kerberos that mean the same to both libraries.
_SAME_WORDS = (
    "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """What a connection of libpq was made with, to make others like it."""

    host: str  # name, as a certificate has it, or folder of a socket
    address: str  # that the name stood for; empty for a socket
    arguments: dict[str, Any]
    pins: str

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> Self:
        """Ask a connection which way it went."""
        info, server = connection.info, connection.pgconn
        used = {option.keyword.decode(): option.val.decode() for option in server.info if option.val}
        settings = {"application_name": "tickline"} | ({"options": info.options} if info.options else {})
        words = urlencode({word: used[word] for word in _SAME_WORDS if word in used}, quote_via=quote)
        arguments: dict[str, Any] = {
            "dsn": f"postgresql://?{words}",
            "host": info.host,
            "port": info.port,
            "user": info.user,
            "password": info.password,  # also one of a password file; empty: none was asked for
            "database": info.dbname,
            "target_session_attrs": "any",  # libpq has found the server
            "server_settings": settings,
            "statement_cache_size": 0,  # each text is new: it holds its parameters
            "timeout": CONNECT_SECONDS_MAX,
        }
        if not server.ssl_in_use:
            arguments |= {"dsn": None, "ssl": False, "direct_tls": False}  # whatever PGSSLNEGOTIATION says
        elif used.get("sslrootcert") == "system":
            arguments |= {"dsn": None, "ssl": ssl.create_default_context()}
        return cls(info.host, info.hostaddr, arguments, pin_statement(info.server_version, info.options))

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a new loop, in which the host's name means the address that libpq has found."""
        return _Loop({self.host: self.address} if self.address else {})

    async def go(self) -> asyncpg.Connection:
        """Open one more connection, in the loop of this way."""
        connection = await asyncpg.connect(**self.arguments)
        await connection.execute(self.pins)
        return connection


class _Loop(asyncio.SelectorEventLoop):
    """A loop that knows the addresses of some names."""

    def __init__(self, addresses: dict[str, str]) -> None:
        super().__init__()
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> list[Any]:
        """Return what the system says of a name, or of the address that is known for it."""
        found: list[Any] = await super().getaddrinfo(self._addresses.get(host, host), port, **hints)
        return found
