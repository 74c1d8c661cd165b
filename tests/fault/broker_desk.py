"""The desk with a broker between collectors and writers, and what happens to that broker."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import nats

from ingest.database.connections import Database
from ingest.transport.broker.blocks import stream_of, subject_of
from tests.broker import AckProxy, Broker, lose_storage, nodes_of
from tests.fault.desk import COLLECTORS, Desk

AWAY_S = 20.0  # of a node, and of the quorum
MET_WITHIN_S = 5.0
STREAM_IS_MADE = "stream made at the broker"
BLOCK_IS_DAMAGED = "block is damaged"
Event = Callable[["BrokerDesk"], None]


class BrokerDesk(Desk):
    """The collectors publish, acknowledgements pass a proxy, and the writers read the broker first.

    Attributes
    ----------
    nodes
        One, or three that are a cluster.
    away
        Those that are away for a while.
    """

    options = ("--publish",)

    def __init__(self, stack: ExitStack, home: Path, database: Database, rng: random.Random, *, nodes: int) -> None:
        self.nodes = nodes_of(home / "nats", nodes)
        for node in self.nodes:
            stack.enter_context(node)
        self.acks = [stack.enter_context(AckProxy(node)) for node in self.nodes]
        self.away: list[Broker] = []
        super().__init__(stack, home, database, rng)

    @property
    def is_suffering(self) -> bool:
        return bool(self.away)

    def source(self, collector: str) -> str:
        return f"nats:{collector}={super().source(collector)}"

    def given(self, name: str) -> dict[str, str]:
        urls = [one.url for one in (self.acks if name in COLLECTORS else self.nodes)]
        return {"TICKLINE_NATS_URL": ",".join(urls), "TICKLINE_NATS_REPLICAS": str(len(self.nodes))}

    def acknowledgements(self) -> tuple[int, int]:
        """Return how many were dropped, and how many doubled."""
        return sum(one.dropped for one in self.acks), sum(one.doubled for one in self.acks)

    def until_whole(self) -> None:
        """Wait until all nodes are members again."""
        self.until(lambda: not self.away and all(node.is_well() for node in self.nodes))

    def until_stored(self, collector: str) -> None:
        """Wait until the broker has blocks of a collector."""
        self.until(lambda: stored(self.nodes, collector))


def stored(nodes: list[Broker], collector: str) -> int:
    """Return how many messages of a collector's stream a node has that has most."""
    counts = [0]
    for node in nodes:
        account = (node.asked("jsz?streams=true")["account_details"] or [{}])[0]
        found = {stream["name"]: stream["state"]["messages"] for stream in account.get("stream_detail", [])}
        counts.append(found.get(stream_of(collector), 0))
    return max(counts)


def kill_a_node(desk: BrokerDesk) -> None:
    desk.until_whole()
    node = desk.rng.choice(desk.nodes)
    node.kill()
    time.sleep(desk.rng.uniform(0, 1))
    node.start()


def freeze_a_node(desk: BrokerDesk) -> None:
    desk.until_whole()
    node = desk.rng.choice(desk.nodes)
    node.freeze()
    desk.until_more_ticks()  # from another node, or from the collectors themselves
    node.thaw()


def take_the_storage(desk: BrokerDesk) -> None:
    """All that was acknowledged is lost."""
    desk.until_whole()
    for collector in COLLECTORS:
        desk.until_stored(collector)
    made = desk.said(STREAM_IS_MADE)
    lose_storage(desk.nodes)
    desk.until(lambda: desk.said(STREAM_IS_MADE) > made)


def drop_and_double_acknowledgements(desk: BrokerDesk) -> None:
    desk.until_whole()
    dropped, doubled = desk.acknowledgements()
    for proxy in desk.acks:
        proxy.fate = [2, 0, *(desk.rng.choice([0, 1, 2]) for _ in range(5))]
    desk.until(lambda: desk.acknowledgements()[0] > dropped and desk.acknowledgements()[1] > doubled)


def spoil_the_blocks(desk: BrokerDesk) -> None:
    """Another client stores the newest blocks once more, until a reader has met it."""
    desk.until_whole()
    collector = desk.rng.choice(COLLECTORS)
    desk.until_stored(collector)
    met, again_s = desk.said(BLOCK_IS_DAMAGED), 0.0

    def is_met() -> bool:
        nonlocal again_s
        if time.monotonic() > again_s:
            again_s = time.monotonic() + MET_WITHIN_S
            with suppress(nats.errors.Error):  # during an election
                asyncio.run(_spoil(desk, collector))
        return desk.said(BLOCK_IS_DAMAGED) > met

    desk.until(is_met)


async def _spoil(desk: BrokerDesk, collector: str) -> None:
    """Store them in another order, some altered, some twice."""
    client = await nats.connect([node.url for node in desk.nodes])
    context, stream = client.jetstream(timeout=10), stream_of(collector)
    last = (await context.stream_info(stream)).state.last_seq
    payloads = []
    for sequence in range(max(last - 7, 1), last + 1):
        try:
            payloads.append((await context.get_msg(stream, sequence)).data or b"")
        except nats.js.errors.NotFoundError:  # removed since
            continue
    payloads += desk.rng.choices(payloads, k=2)
    desk.rng.shuffle(payloads)
    for number, payload in enumerate(payloads):
        at = desk.rng.randrange(len(payload)) if number % 3 == 0 else None
        spoilt = payload if at is None else payload[:at] + bytes([payload[at] ^ 8]) + payload[at + 1 :]
        await context.publish(subject_of(collector, "1"), spoilt)
    await client.close()


def _away(desk: BrokerDesk, nodes: list[Broker]) -> None:
    """Let nodes be killed, or frozen, for a while."""
    desk.until_whole()
    is_killed = desk.rng.random() < 0.5
    for node in nodes:
        node.kill() if is_killed else node.freeze()
    desk.away = nodes
    until = time.monotonic() + AWAY_S

    def come_back() -> None:
        for node in nodes:
            node.start() if is_killed else node.thaw()
        desk.away = []

    desk.later(lambda: time.monotonic() > until, come_back)


def lose_a_node(desk: BrokerDesk) -> None:
    """The other two go on."""
    _away(desk, [desk.rng.choice(desk.nodes)])


def lose_the_quorum(desk: BrokerDesk) -> None:
    """The one that is left stores nothing."""
    _away(desk, desk.rng.sample(desk.nodes, len(desk.nodes) // 2 + 1))


OF_BROKER: tuple[Event, ...] = (
    kill_a_node,
    freeze_a_node,
    take_the_storage,
    drop_and_double_acknowledgements,
    spoil_the_blocks,
)
OF_CLUSTER: tuple[Event, ...] = (lose_a_node, lose_the_quorum)
