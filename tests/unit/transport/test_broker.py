"""A journal through a real broker: every byte arrives once and in order, whatever the broker loses or doubles."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import nats
import pytest

from ingest.errors import ConfigError, JournalError
from ingest.journal.folder import segment_name, segments_of
from ingest.model.records import Position
from ingest.transport.broker import broker_collector
from ingest.transport.broker import publisher as publishing
from ingest.transport.broker.blocks import Block, stream_of, subject_of
from ingest.transport.broker.broker_collector import BrokerCollector
from ingest.transport.broker.link import BrokerSettings, Link, differences, stream_config
from tests.broker import AckProxy, Broker, needs_broker, nodes_of
from tests.unit.transport.publishing import DATABASE, WITHIN_S, Collector, Files, Reader, published, read, wait

pytestmark = needs_broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[Collector]:
    found = Collector(tmp_path / "journal", broker.url)
    yield found
    found.close()


def test_every_byte_arrives_and_what_is_committed_is_removed(
    broker: Broker, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PURGE_S", 0.05)
    collector.write(150)
    wait(collector.is_published)
    source = read(collector, broker.url)
    assert (source.counts.holes, source.counts.healed_bytes, source.damaged) == (0, 0, 0)
    middle = segment_name(segments_of(collector.folder / "1")[1])
    read(collector, broker.url, start=(middle, 5_000))

    async def tell(position: Position, database: str = DATABASE) -> None:
        source = BrokerCollector(BrokerSettings((broker.url,)), "default")
        try:
            await source.committed("1", position, database)
        finally:
            await source.close()

    asyncio.run(tell(Position(middle, 5_000)))
    assert collector.cursor.committed("1") == Position(middle, 5_000)
    wait(lambda: collector.state.purged)
    read(collector, broker.url, start=(middle, 5_000))
    with pytest.raises(JournalError, match="journal belongs to database '7412/ticks', not to 'other'"):
        asyncio.run(tell(Position(middle, 6_000), "other"))
    with pytest.raises(JournalError, match="but the journal ends at"):
        asyncio.run(tell(Position(middle, 10**6)))
    asyncio.run(tell(collector.end()))
    collector.write(1)
    wait(lambda: published(broker.url)[0] <= 2)
    assert collector.state.error == ""


def test_broker_that_is_killed_and_comes_back_misses_nothing(broker: Broker, collector: Collector) -> None:
    collector.write(60)
    wait(collector.is_published)
    broker.kill()
    collector.write(120)
    wait(lambda: collector.state.error)
    broker.start()
    wait(collector.is_published)
    assert read(collector, broker.url).counts.holes == 0


def test_broker_that_hangs_is_waited_for_aside_and_read_again_when_it_answers(
    broker: Broker, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_collector, "HEAL_S", 0.05)

    async def run() -> None:
        source = BrokerCollector(BrokerSettings((broker.url,)), "default", Files(collector))
        reader = Reader(source)
        await reader.read(lambda: reader.segments == collector.bytes())
        broker.freeze()
        collector.write(60)
        segment, offset = reader.at
        async with asyncio.timeout(WITHIN_S):
            assert (await source.piece("1", segment, offset, bytes_max=100, wait_s=600)).data
        await reader.read(lambda: reader.segments == collector.bytes())
        broker.thaw()
        blocks = source.counts.blocks
        await asyncio.to_thread(wait, collector.is_published)
        while source.counts.blocks == blocks:
            collector.write(1)
            await reader.read(lambda: reader.segments == collector.bytes())
        await source.close()

    collector.write(60)
    wait(collector.is_published)
    asyncio.run(run())


@pytest.mark.soak
def test_reader_whose_node_hangs_is_made_on_another_node(tmp_path: Path) -> None:
    """Nobody but the broker has the blocks, and the node that this reader asks is well."""
    nodes = nodes_of(tmp_path / "nats", 3)

    async def run() -> bool:
        source = BrokerCollector(BrokerSettings((nodes[0].url,)), "default")
        reader = Reader(source)
        await reader.read(lambda: reader.segments == collector.bytes())
        (state,) = source._streams.values()
        found = await state.receiver._subscription.consumer_info()
        (holder,) = [node for number, node in enumerate(nodes) if f"node-{number}" == found.cluster.leader]
        if is_hanging := holder is not nodes[0]:
            holder.freeze()
            collector.write(60)
            async with asyncio.timeout(60):
                while reader.segments != collector.bytes():
                    with suppress(TimeoutError):
                        await reader.read(lambda: False)
            holder.thaw()
        await source.close()
        return is_hanging

    with ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node)
        collector = Collector(tmp_path / "journal", *(node.url for node in nodes), replicas=3)
        stack.callback(collector.close)
        collector.write(60)
        wait(collector.is_published)
        assert any(asyncio.run(run()) for _ in range(10))  # the broker chooses the node of a reader


def test_storage_that_is_lost_after_acknowledgements_is_filled_from_where_the_ledger_is(
    broker: Broker, collector: Collector
) -> None:
    collector.write(120)
    wait(collector.is_published)
    committed = Position(segment_name(segments_of(collector.folder / "1")[1]), 2_000)
    collector.cursor.move("1", committed, DATABASE)
    broker.lose_storage()
    collector.write(60)
    wait(lambda: collector.is_published() and published(broker.url)[0])
    source = read(collector, broker.url, start=(committed.segment, committed.offset))
    assert source.counts.holes == 0
    # A reader that is further back asks the collector for the rest.
    source = read(collector, broker.url, healer=True)
    assert source.counts.holes > 0 and source.counts.healed_bytes > 0


def test_acknowledgements_dropped_and_doubled_publish_each_block_once(broker: Broker, tmp_path: Path) -> None:
    with AckProxy(broker) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "PUBLISH_S", 0.2)
        collector = Collector(tmp_path / "journal", proxy.url)
        proxy.fate = [1, 0, 2, 0, 0, 1, 2]
        while proxy.fate:
            collector.write(20)
            wait(collector.is_published)
        assert (proxy.dropped, proxy.doubled) == (3, 2)
        source = read(collector, broker.url)
        assert (source.counts.dropped, source.counts.holes) == (0, 0)
        collector.close()


def test_blocks_that_are_altered_doubled_reordered_or_missing_are_healed_by_the_collector(
    broker: Broker, tmp_path: Path
) -> None:
    """A broker's stream as nobody should make it."""
    collector = Collector(tmp_path / "journal", broker.url)
    collector.write(200)
    wait(collector.is_published)
    collector.journal.close()
    rng = random.Random(5)

    async def spoil() -> None:
        client = await nats.connect(broker.url)
        context, subject = client.jetstream(), subject_of("default", "1")
        await context.purge_stream(stream_of("default"))
        payloads = []
        for name, data in collector.bytes().items():
            for offset in range(0, len(data), 700):
                block = Block("default", "1", name, data[:60], offset, data[offset : offset + 700], is_last=False)
                payloads.append(block.encode())
        for payload in payloads[:]:
            at = payloads.index(payload)
            fate = rng.choice(["fine", "fine", "altered", "doubled", "moved", "missing"])
            if fate == "altered":
                payloads[at] = payload[:100] + bytes([payload[100] ^ 8]) + payload[101:]
            elif fate == "doubled":
                payloads.insert(rng.randrange(len(payloads)), payload)
            elif fate == "moved":
                payloads.insert(min(at + rng.randrange(4), len(payloads)), payloads.pop(at))
            elif fate == "missing":
                payloads.pop(at)
        payloads.insert(3, b"junk")
        payloads.insert(7, Block("other", "1", name, b"", 0, b"foreign", is_last=False).encode())
        for payload in payloads:
            await context.publish(subject, payload)
        await client.close()

    collector.publisher.close()
    asyncio.run(spoil())
    source = read(collector, broker.url, healer=True)
    assert source.damaged > 2 and source.counts.holes > 3 and source.counts.dropped > 3
    assert source.counts.blocks > 5


def test_two_processes_of_one_name_one_publishes_and_the_other_says_so(broker: Broker, tmp_path: Path) -> None:
    one = Collector(tmp_path / "one", broker.url)
    one.write(60)
    wait(one.is_published)
    other = Collector(tmp_path / "other", broker.url)
    other.write(30, size=50)
    wait(lambda: other.state.error)
    assert "another process publishes as collector 'default'" in other.state.error
    assert "TICKLINE_COLLECTOR" in other.publisher.errors()["1"][0]
    one.write(60)
    wait(one.is_published)
    assert read(one, broker.url).counts.holes == 0
    one.close()
    other.close()


def test_process_that_starts_again_goes_on_behind_its_last_block(broker: Broker, tmp_path: Path) -> None:
    first = Collector(tmp_path / "journal", broker.url)
    first.write(100)
    first.close()
    assert published(broker.url)[0]
    before = published(broker.url)[1]
    second = Collector(tmp_path / "journal", broker.url)
    second.write(20)
    wait(second.is_published)
    assert second.state.sequence == published(broker.url)[1] > before
    source = read(second, broker.url)
    assert (source.counts.dropped, source.counts.holes) == (0, 0)
    second.close()


def test_stream_that_is_full_waits_for_the_ledger_and_never_drops(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PURGE_S", 0.05)
    collector = Collector(tmp_path / "journal", broker.url, bytes_max=40_000)
    collector.write(300)
    wait(lambda: collector.state.error)
    assert "maximum bytes exceeded" in collector.state.error
    while not collector.is_published():  # a writer that commits what it finds
        collector.cursor.move("1", collector.state.at, DATABASE)
        time.sleep(0.02)
    assert published(broker.url)[0] < 100
    collector.close()


def test_settings_of_the_stream_are_ours_and_are_restored(broker: Broker) -> None:
    async def run() -> None:
        settings = BrokerSettings((broker.url,))
        link = Link(settings, "test")
        await link.make_stream("default")
        context = await link.streams()
        wanted = stream_config(settings, "default")
        found = (await context.stream_info(wanted.name)).config
        assert differences(found, wanted) == {}
        found.max_bytes = 12_345
        await context.update_stream(found)
        assert differences((await context.stream_info(wanted.name)).config, wanted).keys() == {"max_bytes"}
        await link.make_stream("default")
        assert differences((await context.stream_info(wanted.name)).config, wanted) == {}
        await link.close()

    asyncio.run(run())


def test_node_that_hangs_is_left_for_another_one(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the connection: as a machine that lost its power or its network."""
    monkeypatch.setattr("ingest.transport.broker.link.PING_S", 0.05)
    monkeypatch.setattr("ingest.transport.broker.link.CONNECT_S", 0.3)

    async def run() -> None:
        link = Link(BrokerSettings((broker.url, other.url)), "test")
        client = await link.client()
        (hanging,) = [one for one in (broker, other) if one.url == client.connected_url.geturl()]
        hanging.freeze()
        async with asyncio.timeout(WITHIN_S):
            while not client.is_connected or client.connected_url.geturl() == hanging.url:
                await asyncio.sleep(0.01)
        assert await link.client() is client
        await link.close()
        hanging.thaw()

    with Broker(tmp_path / "other") as other:
        asyncio.run(run())


def test_password_travels_over_tls_only() -> None:
    for url, said in (
        ("nats://user:secret@10.0.0.1:4222", "unencrypted: use tls://"),
        ("http://127.0.0.1:4222", "is no address of a broker"),
        ("", "is no address of a broker"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            BrokerSettings((url,)).check()
        assert "secret" not in str(error.value)
    BrokerSettings(("tls://user:secret@10.0.0.1:4222", "nats://127.0.0.1:1")).check()
