"""Three nodes with the configuration, certificates and passwords of the Compose profile `cluster`, over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from ingest.errors import ConfigError, JournalError
from ingest.transport.assignment import digest_of
from ingest.transport.broker import publisher as publishing
from ingest.transport.broker import receiver as receiving
from ingest.transport.broker.blocks import committed_subject, stream_of, subject_of, universe_subject
from ingest.transport.broker.broker_collector import BrokerCollector
from ingest.transport.broker.keys import KeysThroughBroker
from ingest.transport.broker.link import BrokerSettings, Link
from ingest.transport.cursor import OtherDatabaseError
from ingest.transport.segments import UnreachableError
from tests.broker import Broker, needs_broker
from tests.cluster import MACHINES, Cluster, other_authority, prepare, prepared
from tests.unit.doctor.test_broker import State, found
from tests.unit.transport.assignees import Taking
from tests.unit.transport.publishing import DATABASE, WITHIN_S, Collector, Reader, wait

pytestmark = needs_broker


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    prepared(folder)
    running = Cluster(folder)
    try:
        wait(lambda: all(node.is_healthy() for node in running.nodes))
        yield running
    finally:
        running.close()


def test_collector_publishes_and_writer_reads_and_tells_as_their_own_users_over_tls(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PURGE_S", 0.05)
    monkeypatch.setattr(receiving, "SILENT_S", 0.0)  # the reader at the broker is looked for whenever nothing comes
    collector = Collector(
        tmp_path / "journal",
        *cluster.urls("collector-1"),
        name="collector-1",
        authority=cluster.authority("collector-1"),
        assignee=(taking := Taking()),
        replicas=3,
        bytes_max=2**24,
    )
    collector.write(120)

    async def run() -> int:
        settings = BrokerSettings(cluster.urls("writer-1"), cluster.authority("writer-1"))
        source = BrokerCollector(settings, "collector-1")
        reader = Reader(source)
        try:
            whole = collector.bytes()
            await reader.read(lambda: reader.at[0].startswith(max(whole)))
            assert reader.segments == whole
            nothing = await source._state("1").receiver.next(0.05)
            assert nothing is None
            await source.committed("1", collector.end(), DATABASE)
            await give_keys(KeysThroughBroker(settings, "collector-1"), taking)
            context = await source._link.streams()
            while (info := await context.stream_info(stream_of("collector-1"))).state.messages > 1:
                await asyncio.sleep(0.02)
            return info.config.num_replicas or 0
        finally:
            await source.close()

    try:
        wait(collector.is_published)
        assert asyncio.run(run()) == 3
        assert collector.cursor.committed("1") == collector.end()
    finally:
        collector.close()


async def give_keys(source: KeysThroughBroker, taking: Taking) -> None:
    """Ask a collector for its keys and give it others, more than a message takes that is not compressed."""
    keys = {f"NSE_FO|{number}": "full" for number in range(25_000)}
    try:
        assert (await source.standing("")).keys == {}
        await source.assign(keys, DATABASE)
        assert taking.keys == keys
        said = await source.standing("")
        assert (said.collector, said.keys, said.digest) == ("mumbai", keys, digest_of(keys))
        assert (await source.standing(said.digest)).keys is None
        with pytest.raises(JournalError, match="'INFY' is no instrument key"):
            await source.assign({"INFY": "full"}, DATABASE)
        taking.error = OtherDatabaseError("another database gives them")
        with pytest.raises(JournalError, match="refuses: another database gives them"):
            await source.assign({}, DATABASE)
        taking.error = OSError(28, "No space left on device")
        with pytest.raises(UnreachableError, match="No space left on device: free some space"):
            await source.assign({}, DATABASE)
        assert taking.keys == keys
    finally:
        await source.close()


def altered(urls: tuple[str, ...], password: str) -> tuple[str, ...]:
    """The addresses with another password."""
    return tuple(f"tls://writer:{password}@{url.partition('@')[2]}" for url in urls)


def why_refused(settings: BrokerSettings) -> str:
    async def run() -> str:
        link = Link(settings, "test")
        try:
            with pytest.raises(UnreachableError) as found:
                await link.client()
            return str(found.value)
        finally:
            await link.close()

    return asyncio.run(run())


def test_wrong_password_other_authority_and_no_encryption_are_refused_with_the_remedy(
    cluster: Cluster, tmp_path: Path
) -> None:
    urls, authority = cluster.urls("writer-1"), cluster.authority("writer-1")
    login = "broker refuses the login: correct the user in TICKLINE_NATS_URL"
    assert why_refused(BrokerSettings(altered(urls, "wrong"), authority)) == login
    assert why_refused(BrokerSettings(tuple(f"tls://{url.partition('@')[2]}" for url in urls), authority)) == login
    for other in (other_authority(tmp_path), None):
        text = why_refused(BrokerSettings(urls, other))
        assert text.startswith("broker is not asked: its certificate is not trusted (")
        assert text.endswith("): name its authority's PEM file in TICKLINE_NATS_CA")
    # Where nats:// may be used at all: within this machine.
    plain = why_refused(BrokerSettings(tuple(url.replace("tls://", "nats://") for url in urls), authority))
    assert plain.endswith("in TICKLINE_NATS_CA")


def test_server_without_tls_at_an_address_of_tls_is_told_nothing() -> None:
    """Somebody in between could take the offer of TLS out of what the server says first."""
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.12.0","headers":true,"max_payload":1048576}\r\n')
        heard.append(await reader.read(1000))
        writer.close()

    async def run() -> str:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            link = Link(BrokerSettings((f"tls://writer:secret@127.0.0.1:{port}",)), "test")
            with pytest.raises(UnreachableError) as found:
                await link.client()
            await link.close()
            async with asyncio.timeout(WITHIN_S):
                while not heard:
                    await asyncio.sleep(0.01)
            return str(found.value)

    assert asyncio.run(run()).startswith("broker has no TLS at an address of tls://, and was told nothing")
    assert heard and not b"".join(heard)


def test_broker_that_refuses_a_connection_again_says_why_while_it_is_away(tmp_path: Path) -> None:
    async def run() -> None:
        with Broker(tmp_path, options="authorization { user: writer, password: first }") as broker:
            link = Link(BrokerSettings((f"nats://writer:first@127.0.0.1:{broker.port}",)), "test")
            await link.client()
            broker.kill()
            broker.config.write_text(broker.config.read_text().replace("first", "second"))
            broker.start()
            async with asyncio.timeout(WITHIN_S):
                while True:
                    try:
                        await link.client()
                    except UnreachableError as exc:
                        if str(exc).endswith("again: broker refuses the login: correct the user in TICKLINE_NATS_URL"):
                            break
                    await asyncio.sleep(0.02)
            await link.close()

    asyncio.run(run())


NOT_ALLOWED = {
    "collector-2": [
        subject_of("collector-1", "1"),
        committed_subject("collector-1"),
        universe_subject("collector-1"),
        *(f"$JS.API.STREAM.{what}.TICKLINE-collector-1" for what in ("CREATE", "UPDATE", "PURGE", "MSG.GET")),
        "$JS.API.STREAM.DELETE.TICKLINE-collector-2",
        "$JS.API.STREAM.MSG.DELETE.TICKLINE-collector-2",
        "$JS.API.CONSUMER.CREATE.TICKLINE-collector-1",
        "_INBOX.writer.x",
    ],
    "writer-1": [
        subject_of("collector-1", "1"),
        *(
            f"$JS.API.STREAM.{what}.TICKLINE-collector-1"
            for what in ("CREATE", "UPDATE", "PURGE", "DELETE", "MSG.DELETE")
        ),
    ],
}
NOT_HEARD = {
    "collector-2": [
        "tick.>",
        "tick-committed.collector-1",
        "tick-universe.collector-1",
        "_INBOX.>",
        "_INBOX.writer.>",
    ],
    "writer-1": ["tick.>", "tick-committed.>", "tick-universe.>", "_INBOX.collector-1.>"],
}


@pytest.mark.parametrize("machine", NOT_ALLOWED)
def test_user_of_the_broker_may_do_its_own_work_only(cluster: Cluster, machine: str) -> None:
    settings = BrokerSettings(cluster.urls(machine), cluster.authority(machine))

    async def run() -> tuple[list[str], list[str]]:
        refused: list[str] = []

        async def note(error: Exception) -> None:
            refused.append(str(error))

        login: Any = settings.login()
        tls = ssl.create_default_context(cafile=settings.authority)
        client = await nats.connect(settings.places, tls=tls, error_cb=note, **login)
        for subject in NOT_ALLOWED[machine]:
            await client.publish(subject, b"{}")
        for subject in NOT_HEARD[machine]:
            await client.subscribe(subject)
        await client.flush()
        async with asyncio.timeout(WITHIN_S):  # each is said by a task of its own
            while len(refused) < len(NOT_ALLOWED[machine]) + len(NOT_HEARD[machine]):
                await asyncio.sleep(0.01)
        published = [one for one in refused if "for publish" in one.lower()]
        heard = [one for one in refused if one not in published]
        await client.close()
        return published, heard

    published, heard = asyncio.run(run())
    for subjects, errors in ((NOT_ALLOWED[machine], published), (NOT_HEARD[machine], heard)):
        assert len(errors) == len(subjects)
        for subject in subjects:
            assert any(f'"{subject}"'.lower() in error.lower() for error in errors), (subject, errors)


def test_right_that_a_user_lacks_is_logged_once(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        link = Link(BrokerSettings(cluster.urls("writer-1"), cluster.authority("writer-1")), "test")
        client = await link.client()
        for _ in range(3):
            await client.publish(subject_of("collector-1", "1"), b"")
            await client.flush()
        async with asyncio.timeout(WITHIN_S):
            while not any("does not allow" in one for one in caplog.messages):
                await asyncio.sleep(0.01)
        await link.close()

    asyncio.run(run())
    said = [one for one in caplog.messages if one.startswith("broker does not allow our user what it needs")]
    assert len(said) == 1 and said[0].endswith('permissions violation for publish to "tick.collector-1.1"')


def test_certificate_of_a_collector_makes_no_node(cluster: Cluster) -> None:
    def route(machine: str) -> bytes:
        folder = cluster.folder / machine / "tls"
        context = ssl.create_default_context(cafile=folder / "authority.pem")
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        plain = socket.create_connection(("127.0.0.1", cluster.nodes[0].routes), timeout=WITHIN_S)
        with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
            return encrypted.recv(2**16)

    assert route("nats-2")
    with pytest.raises(ssl.SSLError, match="certificate"):
        route("collector-1")


def test_script_gives_each_machine_its_own_and_keeps_what_is_valid(tmp_path: Path) -> None:
    said = prepared(tmp_path)
    assert said.count("made a certificate") == 5 and "made an authority" in said
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o600"}
    found = {name: {path.name for path in (tmp_path / name).rglob("*") if path.is_file()} for name in MACHINES}
    own = {"certificate.pem", "key.pem", "authority.pem"}
    assert found["nats-2"] == own | {"passwords.conf"}
    assert found["collector-2"] == own | {"journal-token", ".env"}
    assert found["writer-2"] == {"authority.pem", ".env"} and found["reader"] == {"api-token"}
    keys = [path.read_text() for path in tmp_path.glob("*/tls/key.pem")]
    assert len(set(keys)) == len(keys) == 5
    # Whoever takes the page's token has nothing else with it.
    page = (tmp_path / "reader" / "api-token").read_bytes()
    assert {path.parent.name for path, data in files.items() if page in data} == {"passwords", "reader"}
    authority = (tmp_path / "authority" / "authority.key").read_bytes()
    assert [path for path, data in files.items() if authority in data] == [tmp_path / "authority" / "authority.key"]
    # What people and `tickline login` have put there stays.
    env = tmp_path / "collector-1" / ".env"
    env.write_text("UPSTOX_ACCESS_TOKEN='a token'\n" + env.read_text())
    lost = tmp_path / "nats-2" / "tls" / "certificate.pem"
    lost.unlink()
    said = prepare(tmp_path)
    assert said == "prepare: made a certificate for nats-2\nprepare: all machines have what they need\n"
    changed = {path for path in files if path.read_bytes() != files[path]}
    assert changed == {env, lost, lost.with_name("key.pem")}
    assert env.read_text() == "UPSTOX_ACCESS_TOKEN='a token'\n" + files[env].decode()


def test_login_of_an_address_is_decoded_and_belongs_to_all_addresses() -> None:
    urls = ("tls://desk%40one:p%40ss%3A%2F@a:4222", "tls://b")
    settings = BrokerSettings.of(",".join(urls), None, 1, 2**20)
    assert settings.places == ["tls://a:4222", "tls://b"]
    assert settings.login() == {"user": "desk@one", "password": "p@ss:/", "inbox_prefix": "_INBOX.desk-one"}
    assert BrokerSettings(("tls://a%2Bb@host",)).login() == {"token": "a+b"}
    assert BrokerSettings(("tls://host",)).login() == {}
    for url in ("tls://user:pa/ss@host:4222", "tls://user:pa?ss@host", "tls://user:1#2@host", "tls://host:x"):
        with pytest.raises(ConfigError, match="letters and digits as %XX") as found:
            BrokerSettings((url,)).check()
        assert "ss@" not in str(found.value)
    with pytest.raises(ConfigError, match="have different users"):
        BrokerSettings(("tls://one:x@a", "tls://other:y@b")).check()


def test_doctor_looks_as_the_writer(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitors = ",".join(f"http://127.0.0.1:{node.monitor}" for node in cluster.nodes)
    urls = ",".join(cluster.urls("writer-1"))
    given = {"CA": str(cluster.authority("writer-1")), "REPLICAS": "3", "BYTES_MAX": str(2**24)}
    lines = found(tmp_path / "home", monkeypatch, URL=urls, MONITOR_URL=monitors, **given)
    assert [state for state, _ in lines] == [State.OK] * 4, lines


def test_doctor_looks_as_a_collector_which_may_not_list_the_streams_of_others(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls, authority = cluster.urls("collector-1"), cluster.authority("collector-1")

    async def make() -> None:
        link = Link(BrokerSettings(urls, authority, 3, 2**24), "test")
        await link.make_stream("collector-1")
        await link.close()

    asyncio.run(make())
    monkeypatch.setenv("TICKLINE_COLLECTOR", "collector-1")
    given = {"CA": str(authority), "REPLICAS": "3", "BYTES_MAX": str(2**24)}
    (of_stream, of_sync) = found(tmp_path / "home", monkeypatch, URL=",".join(urls), **given)
    assert of_stream == (State.OK, "answers; streams: 1: ")
    assert of_sync[0] is State.WARNING  # only the nodes' monitoring tells, and it was not named
