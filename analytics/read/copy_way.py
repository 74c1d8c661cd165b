"""Connect asyncpg to the server that libpq reached, so that every form of URL works for every reader.

Owns the parameters for asyncpg, which parses URLs by its own rules: hosts tried in turn, `hostaddr`, service files,
password files and environment variables differ or are missing. So libpq connects first, and we ask it what it
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

# Values for encryption and Kerberos that mean the same to both libraries.
_SAME_WORDS = (
    "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Way:
    """Parameters of a libpq connection, for making others like it."""

    host: str  # name as in a certificate, or folder of a socket
    address: str  # resolved from the name; empty for a socket
    arguments: dict[str, Any]
    pins: str

    @classmethod
    def of(cls, connection: psycopg.Connection[Any]) -> Self:
        """Read the parameters of an open connection."""
        info, server = connection.info, connection.pgconn
        used = {option.keyword.decode(): option.val.decode() for option in server.info if option.val}
        settings = {"application_name": "tickline"} | ({"options": info.options} if info.options else {})
        words = urlencode({word: used[word] for word in _SAME_WORDS if word in used}, quote_via=quote)
        arguments: dict[str, Any] = {
            "dsn": f"postgresql://?{words}",
            "host": info.host,
            "port": info.port,
            "user": info.user,
            "password": info.password,  # also one from a password file; empty: none was needed
            "database": info.dbname,
            "target_session_attrs": "any",  # libpq has found the server
            "server_settings": settings,
            "statement_cache_size": 0,  # each text is new, because it contains its parameters
            "timeout": CONNECT_SECONDS_MAX,
        }
        if not server.ssl_in_use:
            arguments |= {"dsn": None, "ssl": False, "direct_tls": False}  # whatever PGSSLNEGOTIATION says
        elif used.get("sslrootcert") == "system":
            arguments |= {"dsn": None, "ssl": ssl.create_default_context()}
        return cls(info.host, info.hostaddr, arguments, pin_statement(info.server_version, info.options))

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return a new loop that resolves the host's name to the address found by libpq."""
        return _Loop({self.host: self.address} if self.address else {})

    async def go(self) -> asyncpg.Connection:
        """Open another connection, in this loop."""
        connection = await asyncpg.connect(**self.arguments)
        await connection.execute(self.pins)
        return connection


class _Loop(asyncio.SelectorEventLoop):
    """A loop that knows the addresses of some names."""

    def __init__(self, addresses: dict[str, str]) -> None:
        super().__init__()
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, **hints: int) -> list[Any]:
        """Resolve a name through the system, using its known address if there is one."""
        found: list[Any] = await super().getaddrinfo(self._addresses.get(host, host), port, **hints)
        return found
