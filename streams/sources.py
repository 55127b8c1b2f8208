"""The source topics as Kafka has them: there, those read so far, co-partitioned, dated by the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from schemas.topics import Topic
from sinks.ledger import SourcePartition, SourceTopic, Unreachable
from streams.positions import LogRange, TopicLogs, why_another
from streams.topic_ids import ask

_TIMESTAMP_TYPE = "message.timestamp.type"


class KafkaUnreachable(Exception):
    """Kafka did not answer; another try may succeed."""


class WrongTopics(Exception):
    """Topics to refuse: missing, made anew, not co-partitioned, repartitioned, dated by their producers."""


async def inspect(connection: Mapping[str, Any], topics: Mapping[str, Topic]) -> dict[str, SourceTopic]:
    """Each topic as Kafka has it; raises `WrongTopics` and `KafkaUnreachable`.

    `connection` holds aiokafka's arguments for reaching the brokers.
    """
    admin = AIOKafkaAdminClient(**connection)
    with _reaching():
        try:
            await admin.start()
            found = await ask(admin._client, topics)
            _check_there(found, topics)
            _check_pair(found, topics)
            await _check_timestamps(admin, topics)
        finally:
            await admin.close()
    return found


async def find_logs(connection: Mapping[str, Any], names: Collection[str]) -> dict[str, TopicLogs]:
    """Those of these topics that exist, with their logs; raises `KafkaUnreachable`."""
    async with open_consumer(connection) as consumer:
        found = await ask(consumer._client, names)
        ranges = await log_ranges(consumer, found)
        return {
            name: TopicLogs(
                topic.topic_id,
                {number: ranges[SourcePartition(name, number)] for number in range(topic.partitions)},
            )
            for name, topic in found.items()
        }


async def end_offsets(
    connection: Mapping[str, Any], topics: Mapping[str, SourceTopic]
) -> dict[SourcePartition, int]:
    """Where the log of each partition ends now; raises `KafkaUnreachable`."""
    async with open_consumer(connection) as consumer:
        return {source: end for source, (_, end) in (await log_ranges(consumer, topics)).items()}


def check_unchanged(found: Mapping[str, SourceTopic], known: Mapping[str, SourceTopic]) -> None:
    """Raise `WrongTopics` if a topic is not the one that the ledger knows, or its keys have moved."""
    check_partitions(found, known)
    for topic, (_, topic_id) in found.items():
        known_id = known[topic].topic_id
        if topic_id and known_id and topic_id != known_id:
            raise WrongTopics(why_another(topic, topic_id, known_id))


def check_partitions(found: Mapping[str, SourceTopic], known: Mapping[str, SourceTopic]) -> None:
    """Raise `WrongTopics` if a topic has other partitions than at the first start: its keys have moved."""
    for topic, (count, _) in found.items():
        first = known[topic].partitions if topic in known else count
        if count != first:
            raise WrongTopics(
                f"topic {topic} has {count} partitions and had {first} when it was first read: "
                "its keys have moved, so a conversation would be in two places; "
                "`quarterhour repartition` is the way on"
            )


def check_answers(answers: Iterable[Mapping[str, SourceTopic]], known: Mapping[str, SourceTopic]) -> None:
    """Check what brokers say of topics being read.

    Raises `WrongTopics` if one is another one now, `Unreachable` if one is missing: it may come back.
    """
    for answer in answers:
        check_unchanged(answer, known)
        if missing := sorted(known.keys() - answer.keys()):
            raise Unreachable(f"Kafka: {', '.join(f'topic {name}' for name in missing)} missing")


@asynccontextmanager
async def open_consumer(connection: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer, with aiokafka's arguments; what Kafka refuses becomes `KafkaUnreachable`."""
    consumer = AIOKafkaConsumer(**connection)
    with _reaching():
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def log_ranges(
    consumer: AIOKafkaConsumer, topics: Mapping[str, SourceTopic]
) -> dict[SourcePartition, LogRange]:
    """The log of each partition of these topics, as many as they are said to have."""
    partitions = [
        TopicPartition(name, number) for name, (count, _) in topics.items() for number in range(count)
    ]
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {SourcePartition(*place): (first[place], end[place]) for place in partitions}


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except (KafkaError, OSError) as error:
        raise KafkaUnreachable(f"Kafka: {type(error).__name__}: {error}") from error


def _check_there(found: Mapping[str, SourceTopic], topics: Mapping[str, Topic]) -> None:
    if missing := sorted(topics.keys() - found.keys()):
        names = ", ".join(f"topic {name}" for name in missing)
        raise WrongTopics(f"missing in Kafka: {names}; create them first")


def _check_pair(found: Mapping[str, SourceTopic], topics: Mapping[str, Topic]) -> None:
    names = {role: name for name, role in topics.items()}
    conversation, handoff = names[Topic.CONVERSATION], names[Topic.AGENT_HANDOFF]
    if found[conversation].partitions != found[handoff].partitions:
        raise WrongTopics(
            f"topic {conversation} has {found[conversation].partitions} partitions and {handoff} "
            f"{found[handoff].partitions}: they must have the same number, so that a conversation's events "
            "meet in one place"
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
