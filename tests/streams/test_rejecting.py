"""Producers learn of rejected events: after the commit, at least once, whatever becomes of the parts."""

import json
import signal
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from quarterhour.parts.topics import create_topics, delete_topics
from schemas.generate import FOLDER
from schemas.reasons import Reason
from schemas.topics import Topic
from sinks.postgres import PostgresLedger
from streams.rejecting import RejectedEvents
from tests.streams.stage import Stage, event, now_ms, until

PARTITIONS = 2
BAD = [b"{", event("user", 0), event("delivered", now_ms(), "d-1", account_id="other", user_id="")]


@pytest.fixture
async def topic(kafka_brokers: str) -> AsyncIterator[str]:
    """The name of a topic of rejected events, which is not there yet."""
    name = f"rejected-{uuid.uuid4().hex[:12]}"
    yield name
    await delete_topics(kafka_brokers, [name])


async def published(stage: Stage, topic: str) -> list[tuple[str | None, Any]]:
    """All that was told: keys and events."""
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=stage.brokers, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found: list[Any] = []
        for place in places:
            consumer.seek(place, 0)
        while [place for place in places if await consumer.position(place) < ends[place]]:
            found += [
                record
                for records in (await consumer.getmany(timeout_ms=1_000)).values()
                for record in records
            ]
    finally:
        await consumer.stop()
    return [(record.key and record.key.decode(), json.loads(record.value)) for record in found]


async def letters(stage: Stage) -> set[str]:
    rows = await stage.query(
        "select topic || '/' || partition || '/' || \"offset\" as id from billing.dead_letter"
    )
    return {row["id"] for row in rows}


def ids(told: Iterable[tuple[str | None, Any]]) -> list[str]:
    return sorted(rejected["id"] for _, rejected in told)


async def test_each_is_told_once_with_reason_field_and_position_by_account(stage: Stage, topic: str) -> None:
    await create_topics(stage.brokers, {topic: PARTITIONS})
    await stage.publish([event("user", now_ms()), *BAD])
    await stage.drain(topic_rejected_events=topic)
    told = await published(stage, topic)
    assert ids(told) == sorted(await letters(stage))
    assert {rejected["data"]["reason"]: (key, rejected["data"]["field"]) for key, rejected in told} == {
        Reason.NOT_JSON: (None, ""),
        Reason.TIME_BEHIND: ("acme", "time"),
        Reason.EMPTY_FIELD: ("other", "data.user_id"),
    }
    schema = json.loads((FOLDER / "event.rejected.v1.schema.json").read_text())
    for _, rejected in told:
        assert set(rejected) == set(schema["required"])
        assert set(schema["$defs"]["RejectedData"]["required"]) <= set(rejected["data"])
        data = rejected["data"]
        assert rejected["id"] == f"{data['topic']}/{data['partition']}/{data['offset']}"
    await stage.drain(topic_rejected_events=topic)
    assert len(await published(stage, topic)) == 3, "the next owner tells nothing again"
    await stage.publish(BAD)
    await stage.drain(topic_rejected_events=topic)
    assert ids(await published(stage, topic)) == sorted(await letters(stage))


async def test_what_a_killed_worker_did_not_come_to_is_told_by_the_next_owner(
    stage: Stage, topic: str
) -> None:
    worker = stage.start(topic_rejected_events=topic)
    await worker.ready()
    await stage.publish([event("user", now_ms()), *BAD])
    await stage.drained()
    await until(lambda: _is_failing(worker), "the worker says that it cannot tell")
    assert f"rejected events wait in the ledger: topic {topic}" in worker.log
    await stage.publish([event("user", now_ms(), "c-2"), b"["])
    await stage.drained()
    assert (await worker.page("/readyz"))[0] == 200, "billing goes on"
    worker.send(signal.SIGKILL)
    assert await worker.ended() == -9
    await create_topics(stage.brokers, {topic: PARTITIONS})
    await stage.drain(topic_rejected_events=topic)
    assert ids(await published(stage, topic)) == sorted(await letters(stage))
    assert len(await letters(stage)) == 4
    assert len(await stage.records()) == 2


async def test_a_broker_that_refuses_holds_nothing_up_and_is_asked_again(stage: Stage, topic: str) -> None:
    async with _administration(stage) as admin:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs={"max.message.bytes": "1"})])
    await stage.publish([event("user", now_ms()), *BAD])
    worker = stage.start("--until-drained", topic_rejected_events=topic)
    assert await worker.ended() == 0
    assert "MessageSizeTooLargeError" in worker.log
    assert await stage.outcomes() == {"fact": 1, "dead_letter": 3}
    async with _administration(stage) as admin:
        await admin.delete_topics([topic])

    async def is_created() -> bool:
        return await create_topics(stage.brokers, {topic: PARTITIONS}) == [topic]

    await until(is_created, "the topic is made anew")
    await stage.drain(topic_rejected_events=topic)
    assert len(await published(stage, topic)) == 3


async def test_one_told_twice_has_the_same_id(stage: Stage, topic: str) -> None:
    """As after a crash between Kafka's acknowledgement and its being remembered."""
    await create_topics(stage.brokers, {topic: PARTITIONS})
    await stage.publish(BAD)
    await stage.drain(topic_rejected_events=topic)
    await stage.query("delete from billing.rejected_event_position")
    await stage.drain(topic_rejected_events=topic)
    assert ids(await published(stage, topic)) == sorted([*(await letters(stage))] * 2)


async def test_more_than_are_told_at_once_are_all_told(stage: Stage, topic: str) -> None:
    await create_topics(stage.brokers, {topic: PARTITIONS})
    await stage.publish([b"{" for _ in range(1_300)])
    await stage.drain(topic_rejected_events="none", dead_letter_limit_run="2000")
    ledger = await PostgresLedger.open(stage.dsn, algorithm=1)
    rejected = RejectedEvents(ledger, {"bootstrap_servers": stage.brokers}, topic)
    try:
        sources = list(await ledger.positions([stage.topics[Topic.CONVERSATION]]))
        assert await rejected.publish(sources)
        assert ids(await published(stage, topic)) == sorted(await letters(stage))
        assert await ledger.rejections(sources, 10) == []
    finally:
        await rejected.close()
        await ledger.close()


async def test_ignored_types_are_neither_dead_letters_nor_told_of_nor_count_for_the_limit(
    stage: Stage, topic: str
) -> None:
    await create_topics(stage.brokers, {topic: PARTITIONS})
    other = event("user", now_ms()).replace(b"conversation.message.v1", b"conversation.rated.v1")
    bare = b'{"specversion":"1.0","type":"bot.trained.v1"}'
    await stage.publish([*[other] * 10, *[bare] * 10, bare.replace(b"trained", b"taught")])
    summary = await stage.drain(
        topic_rejected_events=topic,
        ignored_types="conversation.rated.v1,bot.trained.v1",
        dead_letter_limit_run="3",
    )
    assert summary["outcomes"] == {"unbilled": 20, "dead_letter": 1}
    assert [rejected["data"]["reason"] for _, rejected in await published(stage, topic)] == ["unknown_type"]


async def _is_failing(worker: Any) -> bool:
    _, text = await worker.page("/metrics")
    name = "quarterhour_rejected_events_failing_seconds "
    return any(line.startswith(name) and line != f"{name}0.0" for line in text.splitlines())


@asynccontextmanager
async def _administration(stage: Stage) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.brokers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
