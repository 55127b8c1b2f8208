"""One worker on real Kafka and PostgreSQL: what it bills, refuses, waits for, and how it ends."""

import asyncio
import re
import signal
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from quarterhour.parts import Parts
from quarterhour.traffic import traffic
from schemas.topics import Topic, partition_of
from sinks.ledger import SourcePartition
from sinks.postgres import PostgresLedger
from streams.metrics import Metrics
from tests.streams.stage import Stage, event, now_ms, until

MINUTE_MS = 60_000
DAY_MS = 86_400_000


async def test_generated_traffic_is_billed_like_the_reference(stage: Stage) -> None:
    await stage.publish(traffic(20_000, 3, now_ms()))
    summary = await stage.drain()
    comparison = await stage.compare()
    assert comparison.equal, comparison.report("ledger", "reference")
    assert summary["events"] == 20_000
    assert summary["outcomes"] == dict(await stage.outcomes())


async def test_hostile_traffic_is_billed_like_the_reference(stage: Stage) -> None:
    await stage.publish(traffic(10_000, 4, now_ms(), hostile=True))
    await stage.drain()
    comparison = await stage.compare()
    assert comparison.equal, comparison.report("ledger", "reference")


async def test_what_was_over_when_a_worker_began_is_final_once_it_is_drained(stage: Stage) -> None:
    lines = list(traffic(2_000, 21, now_ms() - DAY_MS))
    for place in range(0, len(lines), 400):
        await stage.publish(lines[place : place + 400])
        await stage.drain()
        assert "open" not in {record["status"] for record in await stage.records()}


async def test_a_restart_goes_on_from_the_ledgers_offsets_and_not_from_kafkas(stage: Stage) -> None:
    lines = list(traffic(10_000, 5, now_ms()))
    await stage.publish(lines[:6_000])
    assert (await stage.drain())["events"] == 6_000
    await stage.publish(lines[6_000:])
    stage.group = f"{stage.group}-anew"  # Kafka knows no offsets of this group
    assert (await stage.drain())["events"] == 4_000
    assert (await stage.compare()).equal


async def test_a_worker_that_is_killed_loses_nothing_and_bills_nothing_twice(stage: Stage) -> None:
    lines = list(traffic(30_000, 6, now_ms()))
    await stage.publish(lines)
    worker = stage.start()
    await until(lambda: _saved_something(stage), "a first checkpoint")
    worker.kill()
    await stage.drain()
    assert (await stage.compare()).equal


async def test_sigterm_saves_a_last_checkpoint_and_ends_with_status_0(stage: Stage) -> None:
    worker = stage.start(checkpoint_interval="60s")
    await worker.ready()
    await stage.publish(event("user", now_ms() - n, f"c-{n}") for n in range(100))
    await until(lambda: _has_read(worker, 100), "all are read")
    assert await stage.records() == []
    assert await worker.stop() == 0, worker.log
    assert (await stage.compare()).equal


async def test_bad_records_become_dead_letters_and_the_batch_around_them_is_billed(stage: Stage) -> None:
    good = [event("user", now_ms() - MINUTE_MS, f"c-{n}") for n in range(20)]
    right = b"acme|sales|c-0"
    wrong_partition = (partition_of(right, 8) + 1) % 8
    bad = [
        (b"key", None, 0, "empty_value"),
        (b"key", b"\x00not json", 0, "not_json"),
        (right, b'{"specversion":"1.0"}', 0, "missing_field"),
        (b"acme|sales|c-1", good[0], partition_of(right, 8), "wrong_key"),
        (None, good[0], partition_of(right, 8), "wrong_key"),
        (right, good[0], wrong_partition, "wrong_partition"),
        (right, event("user", now_ms() + 10 * MINUTE_MS, "c-0"), partition_of(right, 8), "time_ahead"),
        (right, event("user", now_ms() - 401 * DAY_MS, "c-0"), partition_of(right, 8), "time_behind"),
    ]
    await stage.publish(good[:10])
    sent = [await _send(stage, key, value, partition) for key, value, partition, _ in bad]
    await stage.publish(good[10:])
    summary = await stage.drain()
    found = await stage.query("select * from billing.dead_letter")
    expected = {
        (partition, offset, reason, key, value)
        for (key, value, partition, reason), offset in zip(bad, sent, strict=True)
    }
    assert {(r["partition"], r["offset"], r["reason"], r["key"], r["value"]) for r in found} == expected
    assert summary["outcomes"] == {"fact": 20, "dead_letter": len(bad)}
    assert len(await stage.records()) == 20


async def test_an_event_a_month_late_meets_its_conversation_and_is_a_correction(stage: Stage) -> None:
    month_ago = now_ms() - 30 * DAY_MS
    await stage.publish([event("user", month_ago), event("user", now_ms(), "c-2")])
    await stage.drain()
    before = {record["conversation_id"]: record for record in await stage.records()}
    assert (before["c-1"]["status"], before["c-1"]["corrected_at"]) == ("final", None)
    await stage.publish([event("user", month_ago + 10 * MINUTE_MS), event("user", month_ago, "c-3")])
    await stage.drain()
    after = {record["conversation_id"]: record for record in await stage.records()}
    assert (after["c-1"]["status"], after["c-1"]["revision"]) == ("final", 2)
    assert after["c-1"]["bot_ms"] == 10 * MINUTE_MS
    assert after["c-1"]["corrected_at"] is not None
    assert after["c-3"]["corrected_at"] is not None, (
        "a further record brought by a late event is a correction"
    )
    changes = await stage.query(
        "select position, conversation_id, revision from billing.session_record_changes"
    )
    assert [row["position"] for row in changes] == list(range(1, len(changes) + 1))
    assert [row["revision"] for row in changes if row["conversation_id"] == "c-1"] == [1, 2]
    assert (await stage.compare()).equal


async def test_a_settled_record_becomes_final_though_no_further_event_comes(stage: Stage) -> None:
    worker = stage.start(allowed_lateness="1s")
    await stage.publish([event("user", now_ms() - 15 * MINUTE_MS - 500)])

    async def final() -> bool:
        return [record["status"] for record in await stage.records()] == ["final"]

    await until(final, "the wall clock settles what an idle partition holds")
    assert await worker.stop() == 0


async def test_topics_with_different_partition_counts_are_refused(stage: Stage, new_topics) -> None:
    stage.topics = await new_topics({Topic.CONVERSATION: 4, Topic.AGENT_HANDOFF: 3, Topic.ALERT_DELIVERY: 2})
    worker = stage.start()
    assert await worker.ended() == 2
    conversation = stage.topics[Topic.CONVERSATION]
    assert f"topic {conversation} has 4 partitions" in worker.log
    assert "Traceback" not in worker.log


async def test_a_missing_topic_is_refused_by_name(stage: Stage) -> None:
    worker = stage.start(topic_alert_delivery="nowhere")
    assert await worker.ended() == 2
    assert "missing in Kafka: topic nowhere" in worker.log


async def test_topics_dated_by_producers_are_refused(stage: Stage, kafka_brokers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_brokers)
    await admin.start()
    name = f"{stage.group}-dated"
    await admin.create_topics([NewTopic(name, 4, 1, topic_configs={"message.timestamp.type": "CreateTime"})])
    await admin.close()
    worker = stage.start(topic_alert_delivery=name)
    assert await worker.ended() == 2
    assert f"topic {name} has message.timestamp.type=CreateTime" in worker.log


async def test_another_partition_count_than_at_the_first_start_is_refused(stage: Stage) -> None:
    await stage.drain()
    conversation = stage.topics[Topic.CONVERSATION]
    await stage.query("update billing.source_topic set partitions = 16 where topic = $1", conversation)
    worker = stage.start()
    assert await worker.ended() == 2
    assert f"topic {conversation} has 8 partitions and had 16" in worker.log


async def test_a_ledger_ahead_of_kafkas_log_is_refused(stage: Stage) -> None:
    await stage.drain()
    conversation = stage.topics[Topic.CONVERSATION]
    sql = "update billing.source_partition set next_offset = 99 where topic = $1 and partition = 0"
    await stage.query(sql, conversation)
    worker = stage.start()
    assert await worker.ended() == 2
    place = f"{conversation} partition 0: the ledger is at offset 99 and Kafka's log ends at 0"
    assert place in worker.log


async def test_a_database_without_the_schema_is_refused(stage: Stage, empty_database: str) -> None:
    worker = stage.start(postgres_dsn=empty_database)
    assert await worker.ended() == 2
    assert "run `quarterhour migrate`" in worker.log


async def test_a_wrong_setting_is_refused_by_name(stage: Stage) -> None:
    worker = stage.start(allowed_lateness="soon")
    assert await worker.ended() == 2
    assert "QUARTERHOUR_ALLOWED_LATENESS='soon'" in worker.log


async def test_an_unreachable_postgresql_is_waited_for_until_patience_is_over(stage: Stage) -> None:
    worker = stage.start(postgres_dsn="postgresql://nobody@127.0.0.1:1/none", patience="1s")
    assert await worker.ended() == 74
    assert "out_of_patience" in worker.log


async def test_an_unreachable_kafka_is_waited_for_until_patience_is_over(stage: Stage) -> None:
    worker = stage.start(kafka_brokers="127.0.0.1:1", patience="1s")
    assert await worker.ended() == 74


async def test_a_worker_goes_on_by_itself_after_an_outage_of_postgresql(
    stage: Stage, breakable_parts: Parts
) -> None:
    worker = stage.start()
    await worker.ready()
    await asyncio.to_thread(breakable_parts.postgres.kill)
    await stage.publish(event("user", now_ms() - n, f"c-{n}") for n in range(50))
    await until(lambda: _not_ready(worker, "waiting for PostgreSQL"), "it says that it is not ready")
    await asyncio.to_thread(breakable_parts.postgres.start)
    await worker.ready()
    await stage.drained()
    assert await worker.stop() == 0, worker.log
    assert (await stage.compare()).equal


async def test_a_worker_goes_on_by_itself_after_an_outage_of_kafka(
    stage: Stage, breakable_parts: Parts
) -> None:
    worker = stage.start()
    await worker.ready()
    await stage.publish(event("user", now_ms() - n, f"c-{n}") for n in range(50))
    await asyncio.to_thread(breakable_parts.kafka.kill)
    await until(lambda: _not_ready(worker, "Kafka has answered no fetch"), "it says that it is not ready")
    await asyncio.to_thread(breakable_parts.kafka.start)
    await stage.publish(event("user", now_ms() - n, f"d-{n}") for n in range(50))
    await stage.drained()
    await worker.ready()
    assert await worker.stop() == 0, worker.log
    assert (await stage.compare()).equal


async def test_patience_with_kafka_ends_while_running_too(stage: Stage, breakable_parts: Parts) -> None:
    worker = stage.start(patience="3s")
    await worker.ready()
    await asyncio.to_thread(breakable_parts.kafka.kill)
    assert await worker.ended() == 74
    assert re.search(r"^quarterhour worker: Kafka.*\(exit status 74\)$", worker.log, re.MULTILINE)


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_compressed_records_are_read(stage: Stage, codec: str) -> None:
    line, key = event("user", now_ms()), b"acme|sales|c-1"
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers, compression_type=codec)
    await producer.start()
    await producer.send_and_wait(stage.topics[Topic.CONVERSATION], line, key=key)
    await producer.stop()
    assert (await stage.drain())["outcomes"] == {"fact": 1}


async def test_patience_with_postgresql_ends_while_running_too(stage: Stage, breakable_parts: Parts) -> None:
    worker = stage.start(patience="1s")
    await worker.ready()
    await asyncio.to_thread(breakable_parts.postgres.kill)
    assert await worker.ended() == 74
    assert re.search(r"^quarterhour worker: PostgreSQL.*\(exit status 74\)$", worker.log, re.MULTILINE)


async def test_a_worker_whose_partition_another_owns_is_fenced_and_writes_nothing(stage: Stage) -> None:
    worker = stage.start(checkpoint_interval="1s")
    await worker.ready()
    ledger = await PostgresLedger.open(stage.dsn, algorithm=1)
    source = SourcePartition(stage.topics[Topic.CONVERSATION], 0)
    await ledger.claim(uuid.uuid4(), {source: 0})
    await ledger.close()
    await stage.publish(event("user", now_ms() - n, f"c-{n}") for n in range(50))
    assert await worker.ended() == 75
    await stage.drain()
    assert (await stage.compare()).equal


async def test_too_many_dead_letters_in_a_row_stop_the_worker(stage: Stage) -> None:
    await stage.publish([b"bad %d" % n for n in range(30)])
    worker = stage.start("--until-drained", dead_letter_limit_run="20")
    assert await worker.ended() == 65
    assert "20 dead letters in a row (DEAD_LETTER_LIMIT_RUN=20)" in worker.log


async def test_the_pages_say_what_the_worker_does(stage: Stage) -> None:
    worker = stage.start()
    await worker.ready()
    await stage.publish([event("user", now_ms()), event("delivered", now_ms(), "d-1"), b"bad"])
    await stage.drained()
    assert await worker.page("/healthz") == (200, '{"healthy":true}')
    status, text = await worker.page("/metrics")
    assert status == 200
    declared = {metric.name for metric in Metrics().registry.collect()}
    assert declared <= set(re.findall(r"^# TYPE (\w+?)(?:_total)? \w+$", text, re.MULTILINE))
    conversation = stage.topics[Topic.CONVERSATION]
    assert f'quarterhour_events_total{{outcome="fact",reason="",topic="{conversation}"}} 1.0' in text
    assert 'outcome="dead_letter",reason="not_json"' in text
    assert 'quarterhour_session_records_total{kind="alert",status="final"} 1.0' in text
    assert "quarterhour_conversations_in_memory 1.0" in text
    assert f'quarterhour_lag_records{{partition="0",topic="{conversation}"}} 0.0' in text
    assert await worker.stop() == 0


async def test_ignored_types_are_counted_and_left_alone(stage: Stage) -> None:
    line = event("user", now_ms()).replace(b"conversation.message.v1", b"conversation.rated.v1")
    await stage.publish([line])
    summary = await stage.drain(ignored_types="conversation.rated.v1")
    assert summary["outcomes"] == {"unbilled": 1}


async def test_sigint_ends_a_worker_as_sigterm_does(stage: Stage) -> None:
    worker = stage.start()
    await worker.ready()
    worker.send(signal.SIGINT)
    assert await worker.ended() == 0


async def _saved_something(stage: Stage) -> bool:
    rows = await stage.query("select sum(next_offset) as n from billing.source_partition")
    return bool(rows[0]["n"])


async def _has_read(worker, records: int) -> bool:
    _, text = await worker.page("/metrics")
    return f"quarterhour_unsaved_records {float(records)}" in text


async def _not_ready(worker, reason: str) -> bool:
    status, text = await worker.page("/readyz")
    return status == 503 and reason in text


async def _send(stage: Stage, key: bytes | None, value: bytes | None, partition: int) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers)
    await producer.start()
    try:
        sent = await producer.send_and_wait(
            stage.topics[Topic.CONVERSATION], value, key=key, partition=partition
        )
        return sent.offset
    finally:
        await producer.stop()
