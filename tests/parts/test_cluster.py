"""Three brokers of one home are a cluster that lives on without one of them."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from quarterhour.parts.topics import create_topics, end_offsets
from tests.drills.cluster import Cluster, brokers_of_its_own


async def publish(cluster: Cluster, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=cluster.brokers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait("kept", value, partition=0)
    finally:
        await producer.stop()


async def advertised_ports(brokers: str) -> set[int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        return {broker["port"] for broker in (await admin.describe_cluster())["brokers"]}
    finally:
        await admin.close()


async def test_what_was_acknowledged_outlives_any_one_broker_and_nothing_outlives_the_block(
    tmp_path: Path,
) -> None:
    async with brokers_of_its_own(tmp_path, 3) as brokers:
        cluster = brokers.cluster
        await create_topics(cluster.brokers, {"kept": 1})
        await publish(cluster, b"before")
        leader = (await cluster.leaders(["kept"]))["kept", 0]
        await cluster.kill_one(leader)
        await publish(cluster, b"without it")
        await cluster.start_one(leader)
        await cluster.whole(["kept"])
        await cluster.kill_one((await cluster.leaders(["kept"]))["kept", 0])
        assert await end_offsets(cluster.brokers, ["kept"]) == {("kept", 0): 2}
    assert not any(node.running for node in cluster.nodes.values())
    assert list(tmp_path.iterdir()) == []


async def test_a_proxy_is_where_the_brokers_tell_its_clients_to_come(tmp_path: Path) -> None:
    async with brokers_of_its_own(tmp_path, 1) as brokers:
        network = brokers.networks[1]
        await create_topics(brokers.cluster.brokers, {"seen": 1})
        assert await advertised_ports(network.brokers) == {link.port for link in network.links.values()}
        assert await end_offsets(network.brokers, ["seen"]) == {("seen", 0): 0}
        network.cut()
        with pytest.raises(KafkaConnectionError):
            await end_offsets(network.brokers, ["seen"])
        assert await end_offsets(brokers.networks[0].brokers, ["seen"]) == {("seen", 0): 0}
