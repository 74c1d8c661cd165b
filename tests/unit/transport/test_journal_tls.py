"""The journal over TLS: which certificates are accepted, and what the error says of the others."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.errors import ConfigError
from ingest.journal.folder import segment_name, segments_of
from ingest.live.distributed.serving import server_tls
from ingest.transport.http_collector import HttpCollector
from ingest.transport.segments import UnreachableError
from tests.cluster import other_authority, prepared, signed
from tests.unit.journal.journals import fill
from tests.unit.transport.test_server import TOKEN, Served


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    prepared(folder)
    return folder


@contextmanager
def serving(folder: Path, certificate: Path, key: Path) -> Iterator[Served]:
    """Serve a journal as a collector does off loopback."""
    fill(folder / "1", 60)
    served = Served(folder, is_local=False, tls=server_tls(certificate, key))
    try:
        yield served
    finally:
        served.close()


def why_not_asked(url: str, authority: Path | None, token: str | None = TOKEN) -> str:
    async def run() -> str:
        async with HttpCollector(url, token, authority) as collector:
            with pytest.raises(UnreachableError) as found:
                await collector.streams()
            return str(found.value)

    return asyncio.run(run())


def test_bytes_come_over_tls_to_whoever_knows_the_authority_and_has_the_token(machines: Path, tmp_path: Path) -> None:
    tls = machines / "collector-1" / "tls"
    authority = machines / "writer-1" / "tls" / "authority.pem"
    with serving(tmp_path, tls / "certificate.pem", tls / "key.pem") as served:
        url = f"https://localhost:{served.server.port}"
        path = segments_of(served.folder)[0]

        async def read() -> bytes:
            async with HttpCollector(url, TOKEN, authority) as collector:
                assert (await collector.streams()).collector == "default"
                assert await collector.takes_token()
                piece = await collector.piece("1", segment_name(path), 0, bytes_max=2**20, wait_s=0)
                return piece.data

        assert asyncio.run(read()) == path.read_bytes()
        refused = "answers 401: token refused: set TICKLINE_COLLECTOR_TOKEN to what its journal-token holds"
        for token in (None, "another-token-of-somebody"):
            assert why_not_asked(url, authority, token) == f"collector {url!r} {refused}"
        for other in (None, other_authority(tmp_path)):
            text = why_not_asked(url, other)
            assert text.startswith(f"collector {url!r} is not asked: its certificate is not trusted (")
            assert text.endswith("): name its authority's PEM file in TICKLINE_COLLECTOR_CA")
        assert "does not answer" in why_not_asked(url.replace("https", "http"), authority)
        # As Python 3.13 checks by default.
        strict = ssl.create_default_context(cafile=authority)
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        with socket.create_connection(("127.0.0.1", served.server.port)) as plain:
            with strict.wrap_socket(plain, server_hostname="localhost") as encrypted:
                assert encrypted.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("hosts", "days", "says"),
    [
        ("DNS:elsewhere", 1, "its certificate is for another host (.*): ask by a name that it has$"),
        ("IP:127.0.0.1", -1, "its certificate has expired: renew it there$"),
    ],
)
def test_certificate_for_another_host_or_time_is_refused(
    machines: Path, tmp_path: Path, hosts: str, days: int, says: str
) -> None:
    with serving(tmp_path, *signed(machines, "odd", hosts, days=days)) as served:
        url = f"https://127.0.0.1:{served.server.port}"
        text = why_not_asked(url, machines / "authority" / "authority.pem")
        assert served.server.counts.requests == 0
    assert re.search(says, text), text


def test_authority_or_key_that_cannot_be_used_is_said(machines: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used: No such file or directory: see TICKLINE_COLLECTOR_CA"):
        HttpCollector("https://host", TOKEN, tmp_path / "none.pem")
    tls = [machines / name / "tls" for name in ("collector-1", "collector-2")]
    with pytest.raises(ConfigError, match="cannot be used: .*see TICKLINE_JOURNAL_TLS_CERTIFICATE"):
        server_tls(tls[0] / "certificate.pem", tls[1] / "key.pem")
