"""Topics that are no longer what the ledger has read: refused, with the way on, and gone on from."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

from quarterhour.parts.topics import PARTITIONS, create_topics, delete_topics, end_offsets
from quarterhour.publishing import publish
from quarterhour.traffic import traffic
from schemas.topics import Topic
from sinks.ledger import SourceTopic
from streams.topic_ids import MetadataRequest_v12, MetadataResponse_v12, TopicIdsRequest, ask, ask_leaders
from tests.streams.stage import Json, Stage, event, now_ms, until

WAY_ON = "`quarterhour positions --take-over`"


# -- Kafka's topic ids


def test_a_request_is_the_bytes_that_the_protocol_says() -> None:
    request = TopicIdsRequest(["ab"]).build(MetadataRequest_v12)
    assert request.encode() == b"\x02" + bytes(16) + b"\x03ab" + b"\0" + b"\0\0" + b"\0"


def test_an_answer_is_read_as_the_protocol_says() -> None:
    broker = (1, "host", 9092, None, {})
    partition = (0, 0, 1, 5, [1, 2], [1], [], {})
    topic = (0, "ab", UUID(int=7), False, [partition], -1, {})
    answer = MetadataResponse_v12(0, [broker], "cluster", 1, [topic], {})
    assert MetadataResponse_v12.decode(answer.encode()).topics == [topic]


async def test_kafka_tells_the_id_and_partitions_of_topics_that_exist_and_creates_none(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    name = topics[Topic.CONVERSATION]
    client = AIOKafkaClient(bootstrap_servers=kafka_brokers)
    await client.bootstrap()
    try:
        first = await ask(client, [name, "nowhere"])
        assert first == await ask(client, [name, "nowhere"])
        assert first.keys() == {name}
        assert first[name].partitions == PARTITIONS[Topic.CONVERSATION]
        assert first[name].topic_id
        await client.set_topics([name])
        assert await ask_leaders(client, [name], [TopicPartition(name, 0)]) == [first]
        assert await ask_leaders(client, [name], []) == [first]
    finally:
        await client.close()


# -- Refused


async def test_a_topic_made_anew_is_refused_though_it_has_grown_past_the_ledgers_offsets(
    stage: Stage,
) -> None:
    await stage.publish(messages(200, "old"))
    await stage.drain()
    before = await ledger(stage)
    known, found = await make_anew(stage, Topic.CONVERSATION, messages(2_000, "new"))
    worker = stage.start()
    assert await worker.ended() == 2
    assert_refused(worker.log, f"its id in Kafka is {found} and was {known}")
    assert await ledger(stage) == before


async def test_a_topic_made_anew_under_a_running_worker_ends_it_and_nothing_is_saved(stage: Stage) -> None:
    worker = stage.start()
    await stage.publish(messages(200, "old"))
    await worker.ready()
    await stage.drained()
    before = await ledger(stage)
    await make_anew(stage, Topic.CONVERSATION, messages(5_000, "new"))
    assert await worker.ended() == 2, worker.log
    assert_refused(worker.log, "was deleted and created anew")
    assert await ledger(stage) == before


async def test_a_topic_made_anew_between_two_fetches_ends_the_worker_and_nothing_is_saved(
    stage: Stage,
) -> None:
    worker = stage.start(session_timeout="30s")
    await stage.publish(messages(200, "old"))
    await worker.ready()
    await stage.drained()
    before = await ledger(stage)
    worker.send(signal.SIGSTOP)  # it never hears that the topic was gone
    await make_anew(stage, Topic.CONVERSATION, messages(5_000, "new"))
    worker.send(signal.SIGCONT)
    assert await worker.ended() == 2, worker.log
    assert_refused(worker.log, "was deleted and created anew")
    assert await ledger(stage) == before


async def test_the_id_of_a_topic_read_before_ids_were_kept_is_remembered(stage: Stage) -> None:
    await stage.drain()
    await stage.query("update billing.source_topic set topic_id = null")
    await stage.drain()
    await make_anew(stage, Topic.ALERT_DELIVERY, [])
    assert await stage.start().ended() == 2


async def test_a_log_cut_before_the_ledgers_offset_is_refused(stage: Stage) -> None:
    await stage.drain()
    await stage.publish(messages(300, "lost"))
    await delete_records(stage, Topic.CONVERSATION)
    before = await ledger(stage)
    worker = stage.start()
    assert await worker.ended() == 2
    assert_refused(worker.log, "offsets in between are gone from Kafka")
    assert await ledger(stage) == before


# -- Shown


async def test_positions_of_a_ledger_that_can_go_on_are_ok(stage: Stage) -> None:
    await stage.publish(messages(50, "read"))
    await stage.drain()
    await stage.publish(messages(70, "unread"))
    status, rows, _ = await positions(stage)
    assert status == 0
    assert len(rows) == sum(PARTITIONS.values())
    assert {row["state"] for row in rows} == {"ok"}
    assert (sum(row["ledger_offset"] for row in rows), sum(row["lag"] for row in rows)) == (50, 70)
    assert (await positions(stage, "--take-over", "--yes"))[:2] == (0, [])


async def test_positions_before_the_first_start_are_ok(stage: Stage) -> None:
    await stage.publish(messages(50, "unread"))
    status, rows, _ = await positions(stage)
    assert (status, {row["ledger_offset"] for row in rows}) == (0, {None})
    assert sum(row["lag"] for row in rows) == 50


async def test_positions_name_each_trouble_and_end_with_status_1(stage: Stage) -> None:
    await stage.publish(messages(400, "read"))
    await stage.drain()
    conversation, handoff, alert = stage.topics.values()
    await stage.publish(messages(400, "lost"))
    await delete_records(stage, Topic.CONVERSATION)
    await stage.query("update billing.source_partition set next_offset = 5 where topic = $1", handoff)
    await delete_topics(stage.brokers, [alert])
    await until(lambda: is_gone(stage, alert), "the topic is gone")
    status, rows, message = await positions(stage)
    assert status == 1
    assert "20 of 20 partitions cannot be read on" in message
    states = {
        topic: {row["state"] for row in rows if row["topic"] == topic} for topic in stage.topics.values()
    }
    assert states == {conversation: {"lost"}, handoff: {"beyond"}, alert: {"missing"}}
    lost = [row for row in rows if row["topic"] == conversation]
    assert all(row["gone"] == row["log_start"] - row["ledger_offset"] for row in lost)
    assert sum(row["gone"] for row in lost) == 400
    status, rows, message = await positions(stage, "--take-over", "--yes")
    assert (status, rows) == (1, [])
    assert f"missing in Kafka, in whole or in part: topic {alert}" in message


async def test_another_number_of_partitions_is_not_taken_over(stage: Stage) -> None:
    await stage.drain()
    alert = stage.topics[Topic.ALERT_DELIVERY]
    await make_anew(stage, Topic.ALERT_DELIVERY, [], partitions=6)
    before = await ledger(stage)
    status, rows, message = await positions(stage, "--take-over", "--yes")
    assert (status, rows) == (1, [])
    assert f"topic {alert} has 6 partitions and had 4" in message
    assert await ledger(stage) == before


async def test_yes_alone_is_wrong_usage(stage: Stage) -> None:
    assert (await positions(stage, "--yes"))[0] == 2


async def test_an_unreachable_kafka_is_status_3(stage: Stage) -> None:
    stage.brokers = "127.0.0.1:1"
    assert (await positions(stage))[0] == 3


# -- Gone on from


async def test_a_lost_time_that_is_sent_again_is_billed_and_what_is_gone_counts_as_gaps(stage: Stage) -> None:
    lines = list(traffic(6_000, 11, now_ms(), hostile=True))
    await stage.publish(lines[:3_000])
    await stage.drain()
    await publish(lines[3_000:], stage.brokers, stage.topics, raw=True)
    gone = {topic: await delete_records(stage, topic) for topic in Topic}
    assert await stage.start().ended() == 2
    await stage.publish(lines[3_000:])

    before = await ledger(stage)
    status, planned, message = await positions(stage, "--take-over")
    assert status == 0
    assert "nothing was changed: add --yes" in message
    assert await ledger(stage) == before

    status, taken, _ = await positions(stage, "--take-over", "--yes")
    assert (status, taken) == (0, planned)
    assert {row["act"] for row in taken} == {"pass_over"}
    assert sum(row["gone"] for row in taken) == sum(gone.values()) - 3_000 == 3_000
    assert (await positions(stage))[0] == 0

    await stage.drain()
    comparison = await stage.compare()
    assert comparison.equal, comparison.report("ledger", "reference")
    await assert_adds_up(stage)


async def test_topics_made_anew_with_all_sent_again_are_all_repeats(stage: Stage) -> None:
    lines = list(traffic(4_000, 12, now_ms(), hostile=True))
    await stage.publish(lines)
    await stage.drain()
    records, letters = await stage.records(), await dead_letters(stage)
    known = dict(await stage.query("select topic, topic_id::text from billing.source_topic"))
    for topic in Topic:
        await make_anew(stage, topic, [])
    await stage.publish(lines)
    assert await stage.start().ended() == 2

    status, taken, _ = await positions(stage, "--take-over", "--yes")
    assert (status, len(taken)) == (0, sum(PARTITIONS.values()))
    assert {(row["act"], row["next_offset"], row["gone"]) for row in taken} == {("read_anew", 0, 0)}
    assert {row["topic"]: row["kept_as"] for row in taken} == {
        topic: f"{topic}@{topic_id}" for topic, topic_id in known.items()
    }

    summary = await stage.drain()
    assert summary["events"] == 4_000
    assert (await stage.compare()).equal
    assert await stage.records() == records, "not one revision, status or correction"
    assert await dead_letters(stage) == letters * 2, "at the same offsets, under two names"
    await assert_adds_up(stage)


async def test_a_running_worker_is_fenced_when_its_partitions_are_taken_over(stage: Stage) -> None:
    await stage.publish(messages(300, "read"))
    worker = stage.start()
    await worker.ready()
    await stage.drained()
    # As after a restore of an older backup: the worker holds its claim, and the ledger's offsets are lost.
    await stage.query("update billing.source_partition set next_offset = 0")
    await delete_records(stage, Topic.CONVERSATION)
    assert (await positions(stage, "--take-over", "--yes"))[0] == 0
    await stage.publish(messages(10, "after"))
    assert await worker.ended() == 75, worker.log


# -- What happens to topics, and what is seen


def messages(count: int, name: str) -> list[bytes]:
    return [event("user", now_ms() - number, f"{name}-{number}") for number in range(count)]


async def make_anew(
    stage: Stage, topic: Topic, lines: Iterable[bytes], partitions: int | None = None
) -> tuple[UUID | None, UUID | None]:
    """Delete the topic, create one of its name and publish to it at once; the ids before and after."""
    name = stage.topics[topic]
    before = await topic_of(stage, name)
    await delete_topics(stage.brokers, [name])

    async def created() -> bool:
        return await create_topics(stage.brokers, {name: partitions or PARTITIONS[topic]}) == [name]

    async def known() -> SourceTopic | None:
        return found if (found := await topic_of(stage, name)) != before else None

    await until(created, "the topic is created anew")
    after = await until(known, "Kafka tells of it")
    await publish(list(lines), stage.brokers, stage.topics, raw=True)
    assert before
    return before.topic_id, after.topic_id


async def topic_of(stage: Stage, name: str) -> SourceTopic | None:
    client = AIOKafkaClient(bootstrap_servers=stage.brokers)
    await client.bootstrap()
    try:
        return (await ask(client, [name])).get(name)
    finally:
        await client.close()


async def is_gone(stage: Stage, name: str) -> bool:
    return await topic_of(stage, name) is None


async def delete_records(stage: Stage, topic: Topic) -> int:
    """What retention does to all that is in a topic; returns how many offsets."""
    ends = await end_offsets(stage.brokers, [stage.topics[topic]])
    await stage.forget_records(ends)
    return sum(ends.values())


async def positions(stage: Stage, *arguments: str) -> tuple[int | None, list[Json], str]:
    """Run `quarterhour positions`: status, rows and messages."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterhour", "positions", "--format", "ndjson", *arguments),
        env={**os.environ, **stage.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, messages = await process.communicate()
    return process.returncode, [json.loads(line) for line in output.splitlines()], messages.decode()


async def ledger(stage: Stage) -> dict[str, Collection[Any]]:
    """What of the ledger a worker moves when it saves, and a take-over changes."""
    return {
        table: await stage.query(f"select {columns} from billing.{table} order by 1, 2, 3")
        for table, columns in {
            "source_partition": "topic, partition, next_offset, gap_count",
            "source_topic": "topic, partitions, topic_id",
            "outcome_count": "topic, partition, outcome, reason, records",
            "session_record": "session_id, status, revision",
        }.items()
    }


async def dead_letters(stage: Stage) -> list[Any]:
    return await stage.query(
        "select split_part(topic, '@', 1), partition, \"offset\", reason, key, value from billing.dead_letter"
        " order by topic ~ '@', 1, 2, 3"
    )


async def assert_adds_up(stage: Stage) -> None:
    """Of each partition, also one set aside: offsets passed = records by outcome + gaps."""
    rows = await stage.query(
        "select topic, partition, next_offset, gap_count + coalesce(sum(records), 0)::bigint as counted"
        " from billing.source_partition left join billing.outcome_count using (topic, partition)"
        " group by topic, partition"
    )
    assert [row for row in rows if row["next_offset"] != row["counted"]] == []


def assert_refused(log: str, what: str) -> None:
    last = log.splitlines()[-1]
    assert what in last
    assert WAY_ON in last
    assert "Nothing was billed wrongly" in last
    assert "Traceback" not in log
