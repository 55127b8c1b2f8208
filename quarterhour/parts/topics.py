"""What Quarterhour asks of a Kafka cluster's administration: does it answer, topics, and where they end."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NodeNotReadyError, TopicAlreadyExistsError, for_code

from schemas.topics import Topic

Result = TypeVar("Result")

# What `quarterhour up` creates; conversation and agent-handoff must agree: a partition is a shard of both.
PARTITIONS = {Topic.CONVERSATION: 8, Topic.AGENT_HANDOFF: 8, Topic.ALERT_DELIVERY: 4}
REJECTED_EVENTS_PARTITIONS = 4
# The clock that the age of an event is measured by must be the broker's.
TOPIC_CONFIGURATION = {"message.timestamp.type": "LogAppendTime"}
# Options of `quarterhour.kafka.security_options`; the local parts need none.
PLAIN: Mapping[str, Any] = MappingProxyType({})
REQUEST_TIMEOUT_MS = 10_000
READY_TIMEOUT_S = 30.0
POLL_S = 0.02


def topics_to_create(sources: Mapping[Topic, str], rejected_events: str) -> dict[str, int]:
    """The topics of a deployment, with how many partitions each gets here."""
    partitions = {sources[role]: count for role, count in PARTITIONS.items()}
    return {**partitions, rejected_events: REJECTED_EVENTS_PARTITIONS}


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end from any thread, also one whose event loop is running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def cluster_id(brokers: str, security: Mapping[str, Any] = PLAIN) -> str | None:
    """The id of the cluster that answers there; None if nothing does."""
    if not await _listens(brokers):
        return None  # without aiokafka's error lines in the log
    try:
        async with administration(brokers, security) as admin:
            found: str | None = (await admin.describe_cluster())["cluster_id"]
            return found
    except (KafkaError, OSError, TimeoutError):
        return None


async def create_topics(
    brokers: str, names_and_partitions: Mapping[str, int], security: Mapping[str, Any] = PLAIN
) -> list[str]:
    """Create those topics that are missing and wait until each has its leaders; returns the created names.

    A topic that exists is left as it is, whatever its partitions and configuration.
    """
    topics = [_new_topic(name, partitions) for name, partitions in names_and_partitions.items()]
    async with administration(brokers, security) as admin:
        errors = (await admin.create_topics(topics)).to_object()["topic_errors"]
        for error in errors:
            if error["error_code"] not in (0, TopicAlreadyExistsError.errno):
                raise for_code(error["error_code"])(f"topic {error['topic']}: {error['error_message']}")
        await _wait_for_leaders(admin, names_and_partitions)
    return [error["topic"] for error in errors if error["error_code"] == 0]


async def delete_topics(brokers: str, names: Collection[str], security: Mapping[str, Any] = PLAIN) -> None:
    """Delete topics, with all their records; those that do not exist are passed over."""
    if names:
        async with administration(brokers, security) as admin:
            await admin.delete_topics(list(names))


async def end_offsets(
    brokers: str, topics: Collection[str], security: Mapping[str, Any] = PLAIN
) -> dict[tuple[str, int], int]:
    """The position after the last record of each partition of those topics that exist."""
    async with administration(brokers, security) as admin:
        partitions = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await describe_topics(admin, topics)
            for partition in topic["partitions"]
        ]
    if not partitions:
        return {}  # a consumer stopped before its first request raises CancelledError
    consumer = AIOKafkaConsumer(bootstrap_servers=brokers, request_timeout_ms=REQUEST_TIMEOUT_MS, **security)
    try:
        await consumer.start()
        ends = await consumer.end_offsets(partitions)
        return {(end.topic, end.partition): offset for end, offset in ends.items()}
    finally:
        await consumer.stop()


async def describe_topics(admin: AIOKafkaAdminClient, names: Iterable[str]) -> list[Any]:
    """What a broker says of these topics: any of them is asked, so one that has just died must not count."""
    deadline = time.monotonic() + REQUEST_TIMEOUT_MS / 1000
    while True:
        try:
            return list(await admin.describe_topics(list(names)))
        except NodeNotReadyError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def administration(
    brokers: str, security: Mapping[str, Any] = PLAIN
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for an administrator's requests to a cluster, for the length of this block."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers, request_timeout_ms=REQUEST_TIMEOUT_MS, **security)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _new_topic(name: str, partitions: int) -> NewTopic:
    # As many copies as the cluster makes by default: -1, which aiokafka allows only beside an assignment.
    return NewTopic(name, partitions, -1, replica_assignments={}, topic_configs=TOPIC_CONFIGURATION)


async def _listens(brokers: str) -> bool:
    for broker in brokers.split(","):
        host, _, port = broker.rpartition(":")
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host, int(port)), REQUEST_TIMEOUT_MS / 1000
            )
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names_and_partitions: Mapping[str, int]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _all_led(await describe_topics(admin, names_and_partitions)):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"topics without leaders after {READY_TIMEOUT_S:.0f} s: {', '.join(names_and_partitions)}"
            )
        await asyncio.sleep(POLL_S)


def _all_led(topics: list[Any]) -> bool:
    return all(
        topic["error_code"] == 0
        and topic["partitions"]
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in topics
    )
