"""`doctor --collector`: what a writer's machine says of collectors elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.doctor import collectors
from ingest.doctor.collectors import check_collectors
from ingest.doctor.findings import Check, State, examine
from ingest.doctor.installation import Installation
from ingest.live.distributed.serving import server_tls
from tests.cluster import prepared
from tests.unit.journal.journals import fill
from tests.unit.transport.test_server import TOKEN, Served

Lines = list[tuple[State, str]]


def found(home: Path, monkeypatch: pytest.MonkeyPatch, *sources: str, token: str = "", authority: str = "") -> Lines:
    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    given = {
        "TICKLINE_HOME": str(home),
        "TICKLINE_DATABASE_URL": "host=127.0.0.1 port=1",
        "TICKLINE_COLLECTOR_TOKEN": token,
        "TICKLINE_COLLECTOR_CA": authority,
        "TICKLINE_API_PORT": "1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    installation = Installation(lambda _home, _name=None: None, sources)
    checks = [Check("collector", check_collectors)]
    lines = [(one.state, f"{one.text}: {one.remedy}") for one in examine(installation, checks)]
    installation.close()
    return lines


def test_collector_over_tls_is_seen_as_a_writer_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(tmp_path)
    tls = tmp_path / "collector-1" / "tls"
    authority = str(tmp_path / "writer-1" / "tls" / "authority.pem")
    fill(tmp_path / "journal" / "1", 20)
    context = server_tls(tls / "certificate.pem", tls / "key.pem")
    served = Served(tmp_path / "journal", is_local=False, tls=context)
    home, url = tmp_path / "home", f"https://127.0.0.1:{served.server.port}"
    try:
        lines = found(home, monkeypatch, f"nats:default={url}", token=TOKEN, authority=authority)
        texts = [text for _, text in lines]
        assert [state for state, _ in lines] == [State.OK, State.OK, State.OK, State.WARNING], texts
        assert texts[0].startswith(f"default answers at {url} with TLSv1.3; its certificate ends on 20")
        assert texts[1:3] == ["default takes the token: ", "default is within 2 s of this machine: "]
        assert texts[3].startswith("default: what is committed was not compared: the database cannot be used")
        ((state, text),) = found(home, monkeypatch, url, token="another-token-of-us", authority=authority)
        assert state is State.FAILURE and text.endswith("set TICKLINE_COLLECTOR_TOKEN to what its journal-token holds")
        ((state, text),) = found(home, monkeypatch, url, token=TOKEN)
        assert state is State.FAILURE and text.endswith("name its authority's PEM file in TICKLINE_COLLECTOR_CA")
        monkeypatch.setattr(collectors, "SOON", timedelta(days=4_000))
        monkeypatch.setattr(Installation, "now", lambda _: datetime.now(UTC) + timedelta(seconds=90))
        lines = found(home, monkeypatch, url, token=TOKEN, authority=authority)
        assert [state for state, _ in lines] == [State.WARNING, State.OK, State.FAILURE, State.WARNING], lines
        assert lines[0][1].endswith("renew it there: TICKLINE_JOURNAL_TLS_CERTIFICATE")
        assert " s behind this machine: synchronise both clocks" in lines[2][1]
        assert served.cursor.committed("1") is None
    finally:
        served.close()


def test_collector_that_is_away_or_has_no_address_or_another_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "journal" / "1", 20)
    served = Served(tmp_path / "journal")
    home, url = tmp_path / "home", f"http://127.0.0.1:{served.server.port}"
    monkeypatch.setattr(collectors, "VERSIONS_READ", (1,))
    try:
        lines = found(home, monkeypatch, "nats:desk", "http://10.0.0.9:8791", "http://127.0.0.1:9", url)
    finally:
        served.close()
    states = [State.WARNING, State.FAILURE, State.FAILURE, State.OK, State.WARNING, State.OK, State.FAILURE]
    assert [state for state, _ in lines] == [*states, State.WARNING], lines
    says = [
        "nats:desk has no address: only the broker was asked: name it as nats:desk=https://…",
        "would get the token, and send the journal, unencrypted: use https://",
        "does not answer",
        f"default answers at {url}, unencrypted within this machine",
        "so it is not told what is committed, and deletes nothing: set TICKLINE_COLLECTOR_TOKEN",
        "is within 2 s of this machine",
        "default writes version 2 of the journal's format: install a newer tickline here",
    ]
    for (_, text), said in zip(lines, says, strict=False):
        assert said in text
    assert found(home, monkeypatch) == []
