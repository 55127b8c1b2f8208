"""Which topic a name means: Kafka gives each topic an id that no other ever gets, also not one of that name.

An offset says nothing in a topic that was deleted and created anew, so who keeps offsets must compare ids.
aiokafka knows requests for metadata up to version 5, and ids come with version 12: hence a pair of our own,
in the words of its protocol package. No topic is ever created by asking for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from sinks.ledger import SourceTopic, Unreachable

# A broker tells about topics from memory.
ANSWERED_SECONDS = 5.0
_NO_ID = UUID(int=0)
"""Of a topic that is asked for by name; and what a broker without topic ids answers."""


class Uuid(AbstractType[UUID]):  # type: ignore[misc]
    """Kafka's uuid: 16 bytes."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """The bytes of the id."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """The id at this place."""
        return UUID(bytes=data.read(16))


class MetadataResponse_v12(Response):  # type: ignore[misc]
    """Brokers and the topics asked for."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("topic_authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequest_v12(RequestStruct):  # type: ignore[misc]
    """Ask for topics by name."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse_v12
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[MetadataRequest_v12]):  # type: ignore[misc]
    """Metadata with topic ids, which brokers have since Kafka 2.8."""

    API_KEY = 3

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[MetadataRequest_v12]) -> MetadataRequest_v12:
        """The request for these names."""
        return request_struct_class([(_NO_ID, name, {}) for name in self._names], False, False, {})


async def ask(client: AIOKafkaClient, names: Collection[str]) -> dict[str, SourceTopic]:
    """Those of these topics that exist, by the word of some broker; raises `KafkaError`."""
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    return await _ask(client, node, names)


async def ask_leaders(
    client: AIOKafkaClient, names: Collection[str], partitions: Iterable[TopicPartition]
) -> list[dict[str, SourceTopic]]:
    """The same by the word of each broker that leads one of these partitions; raises `Unreachable`.

    A broker learns of a new topic before it serves that topic's records, so whoever delivered records of a
    new topic also tells its id, while another broker may still believe in the old one.
    """
    leaders = {client.cluster.leader_for_partition(partition) for partition in partitions} - {None, -1}
    try:
        async with asyncio.timeout(ANSWERED_SECONDS):
            if not leaders:
                return [await ask(client, names)]
            return list(await asyncio.gather(*(_ask(client, leader, names) for leader in leaders)))
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unreachable(f"Kafka (topic ids): {type(error).__name__}: {error}") from error


async def _ask(client: AIOKafkaClient, node: Any, names: Collection[str]) -> dict[str, SourceTopic]:
    # Not on the connection that fetches: a broker answers one request of a connection after the other.
    answer = await client.send(node, TopicIdsRequest(names), group=ConnectionGroup.COORDINATION)
    return dict(_existing(answer))


def _existing(answer: MetadataResponse_v12) -> Iterator[tuple[str, SourceTopic]]:
    for error_code, name, topic_id, _, partitions, _, _ in answer.topics:
        if not error_code:
            yield name, SourceTopic(len(partitions), topic_id if topic_id != _NO_ID else None)
        elif error_code != UnknownTopicOrPartitionError.errno:
            raise for_code(error_code)(f"topic {name}")
