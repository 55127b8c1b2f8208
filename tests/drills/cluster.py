"""Brokers of a drill's own: one or three, and for each worker a network of its own to them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError

from quarterhour.parts import Parts
from quarterhour.parts.home import ADDRESS, Home
from quarterhour.parts.kafka import Kafka, Node
from quarterhour.parts.topics import (
    PARTITIONS,
    TOPIC_CONFIGURATION,
    administration,
    create_topics,
    describe_topics,
)
from schemas.topics import Topic
from tests.drills.link import Link, linked
from tests.drills.stand import Stand, fresh_database, fresh_topics
from tests.drills.watch import Place
from tests.reaper import ending_with_this_run
from tests.streams.stage import until

WORKERS = 2
APART = 0
WIPE = """
from tests.drills.cluster import Cluster
Cluster(home).wipe()
"""
# Of three brokers two must have a record before it is acknowledged: any one may die.
COPIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class Cluster:
    """Brokers of one home, by their numbers; `wipe` ends up to three, however many were started."""

    def __init__(self, folder: Path, how_many: int = 3) -> None:
        self._folder = folder
        home = Home(folder)
        home.create()
        voters = {number: f"kafka-{number}" for number in range(1, how_many + 1)}
        properties = COPIES if how_many == 3 else {}
        self.nodes = {
            number: Kafka(home, Node(number, voters, "256m", properties, proxies=WORKERS))
            for number in voters
        }

    @property
    def brokers(self) -> str:
        """Where clients start from that need no proxy."""
        return ",".join(node.brokers for node in self.nodes.values())

    async def start(self) -> None:
        """Start all, at once, and wait until they answer."""
        await asyncio.gather(*(self.start_one(number) for number in self.nodes))

    async def start_one(self, number: int) -> None:
        """Start one and wait until it answers."""
        await asyncio.to_thread(self.nodes[number].start)

    async def kill_one(self, number: int) -> None:
        """SIGKILL."""
        await asyncio.to_thread(self.nodes[number].kill)

    def wipe(self) -> None:
        """End all and remove what they hold."""
        for node in self.nodes.values():
            node.kill()
        shutil.rmtree(self._folder)

    async def create_topics(self, copies: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """Create topics whose partitions have their copies on these brokers; the first one leads."""
        topics = [
            NewTopic(name, -1, -1, dict(enumerate(nodes)), TOPIC_CONFIGURATION)
            for name, nodes in copies.items()
        ]
        async with administration(self.brokers) as admin:
            await admin.create_topics(topics)
        counts = {name: len(nodes) for name, nodes in copies.items()}
        assert not await create_topics(self.brokers, counts), "not created as wanted"

    async def leaders(self, topics: Sequence[str]) -> Mapping[Place, int]:
        """Which broker leads each partition."""
        return {place: found["leader"] for place, found in (await self._partitions(topics)).items()}

    async def coordinator(self, group: str) -> int:
        """Which broker knows the members of a group; the first question makes Kafka choose one."""

        async def found() -> int | None:
            with suppress(GroupCoordinatorNotAvailableError):
                async with administration(self.brokers) as admin:
                    return await admin.find_coordinator(group)

        return await until(found, "the group has a coordinator")

    async def whole(self, topics: Sequence[str]) -> None:
        """Wait until every broker has a full copy of every partition."""

        async def all_in_sync() -> bool:
            partitions = await self._partitions(topics)
            return all(len(found["isr"]) == len(self.nodes) for found in partitions.values())

        await until(all_in_sync, "all copies are in sync")

    async def _partitions(self, topics: Sequence[str]) -> dict[Place, dict]:
        async with administration(self.brokers) as admin:
            return {
                (topic["topic"], partition["partition"]): partition
                for topic in await describe_topics(admin, topics)
                for partition in topic["partitions"]
            }


@dataclass(frozen=True)
class Network:
    """One worker's ways to the brokers, by their numbers."""

    links: Mapping[int, Link]

    @property
    def brokers(self) -> str:
        """Where the worker starts from."""
        return ",".join(f"{ADDRESS}:{link.port}" for link in self.links.values())

    def cut(self) -> None:
        """Reset and refuse every connection."""
        for link in self.links.values():
            link.cut()

    def silence(self) -> None:
        """Connections stay, and nothing passes."""
        for link in self.links.values():
            link.silence()

    def mend(self) -> None:
        """As it was."""
        for link in self.links.values():
            link.mend()


@dataclass(frozen=True)
class Brokers:
    """What a stand on a cluster has beside others."""

    cluster: Cluster
    networks: Sequence[Network]


@asynccontextmanager
async def on_cluster(parts: Parts, folder: Path, how_many: int) -> AsyncIterator[Stand]:
    """Brokers of its own beside the run's PostgreSQL."""
    async with brokers_of_its_own(folder, how_many) as brokers, fresh_database(parts) as dsn:
        cluster = brokers.cluster
        async with fresh_topics(cluster.brokers) as topics:
            yield Stand(parts, cluster.brokers, dsn, topics, more=brokers)


@asynccontextmanager
async def on_one_broker(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """One broker, and a network to it for each worker."""
    async with on_cluster(parts, folder, 1) as stand:
        yield stand


@asynccontextmanager
async def on_three_brokers(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """Three brokers, each with a copy of everything."""
    async with on_cluster(parts, folder, 3) as stand:
        yield stand


@asynccontextmanager
async def on_brokers_apart(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """Three brokers of which one leads a single partition, that of conversations of the shard APART."""
    async with brokers_of_its_own(folder, 3) as brokers, fresh_database(parts) as dsn:
        cluster = brokers.cluster
        groups = await cluster.coordinator("any")
        far, third = (number for number in cluster.nodes if number != groups)
        topics = {role: f"{role}-apart" for role in Topic}
        await cluster.create_topics(
            {
                topics[role]: [
                    [far, groups, third]
                    if (role, number) == (Topic.CONVERSATION, APART)
                    else [(groups, third)[number % 2], (third, groups)[number % 2], far]
                    for number in range(count)
                ]
                for role, count in PARTITIONS.items()
            }
        )
        yield Stand(parts, cluster.brokers, dsn, topics, more=brokers)


@asynccontextmanager
async def brokers_of_its_own(folder: Path, how_many: int) -> AsyncIterator[Brokers]:
    """A cluster that runs, with its networks; nothing of it is left after the block."""
    home = folder / "cluster"
    with ending_with_this_run(home, WIPE):
        cluster = Cluster(home, how_many)
        async with AsyncExitStack() as stack:
            networks = [await stack.enter_async_context(_network(cluster, n)) for n in range(WORKERS)]
            await cluster.start()
            yield Brokers(cluster, networks)


@asynccontextmanager
async def _network(cluster: Cluster, worker: int) -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        links = {
            number: await stack.enter_async_context(
                linked(ADDRESS, node.proxied_port(worker), node.proxy_port(worker))
            )
            for number, node in cluster.nodes.items()
        }
        yield Network(links)
