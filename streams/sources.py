"""The source topics, checked before anything is read: there, co-partitioned, dated by the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from schemas.topics import Topic
from sinks.ledger import SourcePartition

_TIMESTAMP_TYPE = "message.timestamp.type"


class KafkaUnreachable(Exception):
    """Kafka did not answer; another try may succeed."""


class WrongTopics(Exception):
    """Topics to refuse: missing, not co-partitioned, repartitioned, or dated by their producers."""


async def inspect(connection: Mapping[str, Any], topics: Mapping[str, Topic]) -> dict[str, int]:
    """The partition count of each topic; raises `WrongTopics` and `KafkaUnreachable`.

    `connection` holds aiokafka's arguments for reaching the brokers.
    """
    admin = AIOKafkaAdminClient(**connection)
    with _reaching():
        try:
            await admin.start()
            counts = await _partition_counts(admin, topics)
            _check_pair(counts, topics)
            await _check_timestamps(admin, topics)
        finally:
            await admin.close()
    return counts


async def end_offsets(connection: Mapping[str, Any], counts: Mapping[str, int]) -> dict[SourcePartition, int]:
    """Where the log of each partition ends now; raises `KafkaUnreachable`."""
    consumer = AIOKafkaConsumer(**connection)
    sources = [SourcePartition(topic, number) for topic, count in counts.items() for number in range(count)]
    with _reaching():
        try:
            await consumer.start()
            found = await consumer.end_offsets([TopicPartition(*source) for source in sources])
        finally:
            await consumer.stop()
    return {source: found[TopicPartition(*source)] for source in sources}


def check_unchanged(found: Mapping[str, int], first: Mapping[str, int]) -> None:
    """Raise `WrongTopics` if a topic has other partitions than at the first start: its keys have moved."""
    for topic, count in found.items():
        if count != first[topic]:
            raise WrongTopics(
                f"topic {topic} has {count} partitions and had {first[topic]} when it was first read: "
                "its keys have moved, so a conversation would be in two places; repartition the ledger first"
            )


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        raise KafkaUnreachable(f"Kafka: {type(error).__name__}: {error}") from error


async def _partition_counts(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic]) -> dict[str, int]:
    described = {topic["topic"]: topic for topic in await admin.describe_topics(list(topics))}
    missing = [name for name in topics if described.get(name, {}).get("error_code", 3) != 0]
    if missing:
        names = ", ".join(f"topic {name}" for name in sorted(missing))
        raise WrongTopics(f"missing in Kafka: {names}; create them first")
    return {name: len(described[name]["partitions"]) for name in topics}


def _check_pair(counts: Mapping[str, int], topics: Mapping[str, Topic]) -> None:
    names = {role: name for name, role in topics.items()}
    conversation, handoff = names[Topic.CONVERSATION], names[Topic.AGENT_HANDOFF]
    if counts[conversation] != counts[handoff]:
        raise WrongTopics(
            f"topic {conversation} has {counts[conversation]} partitions and {handoff} {counts[handoff]}: "
            "they must have the same number, so that a conversation's events meet in one place"
        )


async def _check_timestamps(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic]) -> None:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    for response in await admin.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            found = {entry[0]: entry[1] for entry in entries}.get(_TIMESTAMP_TYPE)
            if found != "LogAppendTime":
                raise WrongTopics(
                    f"topic {name} has {_TIMESTAMP_TYPE}={found}: it must be LogAppendTime, so that an "
                    "absurd event time is told by the broker's clock and not by a producer's"
                )
