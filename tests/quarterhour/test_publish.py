"""Publishing, on a real Kafka: each event on its topic and partition, and what becomes of bad lines."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from quarterhour.errors import PartUnreachable
from quarterhour.lines import decode_line
from quarterhour.parts import Parts
from quarterhour.parts.topics import end_offsets
from quarterhour.publishing import LARGEST_RECORD_BYTES, publish, publish_chunks
from quarterhour.traffic import traffic
from quarterhour.traffic.faults import FAULTS, spoil
from schemas.decode import Rejected, parse_time_ms
from schemas.reasons import Reason
from schemas.topics import Topic, key_of, partition_of
from tests.schemas.examples import changed

UNTIL_MS = parse_time_ms("2026-10-03T09:00:00Z")
DEADLINE_S = 30.0
BAD = b'{"specversion":"1.0"}'


async def read_all(brokers: str, topics: Mapping[Topic, str]) -> dict[Topic, list[ConsumerRecord]]:
    """Every record of the topics, each partition in order."""
    ends = await end_offsets(brokers, list(topics.values()))
    records: dict[Topic, list[ConsumerRecord]] = {}
    async with AIOKafkaConsumer(bootstrap_servers=brokers, auto_offset_reset="earliest") as consumer:
        for topic, name in topics.items():
            partitions = [TopicPartition(*place) for place in ends if place[0] == name]
            wanted = sum(ends[place] for place in partitions)
            consumer.assign(partitions)
            found = records[topic] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(found) < wanted:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        found.extend(batch)
    return records


async def test_each_event_goes_to_the_topic_key_and_partition_that_follow_from_it(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    lines = list(traffic(5_000, 1, UNTIL_MS))
    summary = await publish(lines, kafka_brokers, topics)
    records = await read_all(kafka_brokers, topics)
    assert summary.sent == {topic: len(found) for topic, found in records.items()}
    assert not summary.refused
    assert sorted(record.value for found in records.values() for record in found) == sorted(lines)
    for topic, found in records.items():
        partitions = 4 if topic is Topic.ALERT_DELIVERY else 8
        for record in found:
            event, _, right = decode_line(record.value)
            assert (right, key_of(event)) == (topic, record.key)
            assert record.partition == partition_of(record.key, partitions)
        assert len({record.partition for record in found}) == partitions


async def test_the_order_of_lines_is_kept_within_a_partition(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    lines = [changed(id=f"e-{number}") for number in range(20_000)]
    await publish(lines, kafka_brokers, topics)
    records = (await read_all(kafka_brokers, topics))[Topic.CONVERSATION]
    assert [record.value for record in records] == lines


async def test_bad_lines_are_told_by_number_and_the_good_ones_sent(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    told: list[tuple[int, Rejected]] = []
    lines = [changed(id="e-1"), BAD, changed(id="e-2"), b"", changed(id="e-3")]
    summary = await publish(
        lines, kafka_brokers, topics, on_refused=lambda number, rejected: told.append((number, rejected))
    )
    assert [(number, rejected.reason) for number, rejected in told] == [
        (2, Reason.MISSING_FIELD),
        (4, Reason.EMPTY_VALUE),
    ]
    assert summary.refused == {Reason.MISSING_FIELD: 1, Reason.EMPTY_VALUE: 1}
    assert summary.sent == {Topic.CONVERSATION: 3}
    records = await read_all(kafka_brokers, topics)
    assert [record.value for record in records[Topic.CONVERSATION]] == lines[::2]


async def test_raw_sends_bad_lines_as_they_are_with_the_key_of_their_ids(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    good = changed(id="e-1")
    lines = [spoil(good, fault) for fault in FAULTS]
    summary = await publish(lines, kafka_brokers, topics, raw=True)
    assert summary.sent == {Topic.CONVERSATION: len(FAULTS)}
    keys = {
        record.value: record.key for record in (await read_all(kafka_brokers, topics))[Topic.CONVERSATION]
    }
    assert keys.keys() == set(lines)
    key_of_fault = {fault.name: keys[line] for fault, line in zip(FAULTS, lines, strict=True)}
    right = key_of(decode_line(good)[0])
    assert {key_of_fault[name] for name in ("far future", "unknown author", "no time")} == {right}
    assert {key_of_fault[name] for name in ("cut off", "no conversation", "account is a number")} == {None}


async def test_raw_sends_a_bad_alert_to_the_topic_of_its_type(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    data = {"account_id": "acme", "bot_id": "sales", "delivery_id": "d-1"}
    line = json.dumps({"type": "alert.delivered.v1", "data": data}).encode()
    await publish([line], kafka_brokers, topics, raw=True)
    (record,) = (await read_all(kafka_brokers, topics))[Topic.ALERT_DELIVERY]
    assert (record.key, record.value) == (b"acme|sales|d-1", line)


@pytest.mark.parametrize("raw", [False, True])
async def test_a_line_too_large_for_a_broker_is_refused_and_the_others_sent(
    raw: bool, kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    largest = changed(id="e-1", note="x" * (LARGEST_RECORD_BYTES - len(changed(id="e-1", note=""))))
    assert len(largest) == LARGEST_RECORD_BYTES
    summary = await publish([largest, largest + b" ", changed(id="e-2")], kafka_brokers, topics, raw)
    assert summary.refused == {Reason.TOO_LARGE: 1}
    assert summary.sent == {Topic.CONVERSATION: 2}


async def test_lines_are_sent_while_the_next_ones_are_long_in_coming(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    more = threading.Event()

    def chunks() -> Iterator[list[bytes]]:
        yield [changed(id="e-1")]
        more.wait(DEADLINE_S)
        yield [changed(id="e-2")]

    publishing = asyncio.create_task(publish_chunks(chunks(), kafka_brokers, topics))
    async with asyncio.timeout(DEADLINE_S):
        while not sum((await end_offsets(kafka_brokers, [topics[Topic.CONVERSATION]])).values()):
            pass
    assert not publishing.done()
    more.set()
    assert (await publishing).sent == {Topic.CONVERSATION: 2}


async def test_a_broker_that_restarts_in_mid_stream_gets_every_record_once_and_in_order(
    breakable_parts: Parts, topics: dict[Topic, str]
) -> None:
    lines = [changed(id=f"e-{number}") for number in range(20_000)]

    def chunks() -> Iterator[list[bytes]]:
        yield lines[:10_000]
        breakable_parts.kafka.kill()
        threading.Thread(target=breakable_parts.kafka.start).start()
        yield lines[10_000:]

    brokers = breakable_parts.kafka.brokers
    summary = await publish_chunks(chunks(), brokers, topics)
    assert summary.sent == {Topic.CONVERSATION: len(lines)}
    records = (await read_all(brokers, topics))[Topic.CONVERSATION]
    assert [record.value for record in records] == lines


@pytest.mark.parametrize("lines_after", [1, 5_000], ids=["less than a batch", "many batches"])
async def test_a_broker_that_stays_silent_is_waited_for_with_patience(
    lines_after: int, breakable_parts: Parts, topics: dict[Topic, str]
) -> None:
    process = breakable_parts.kafka.pid
    assert process

    def chunks() -> Iterator[list[bytes]]:
        yield [changed()] * 1_000
        os.kill(process, signal.SIGSTOP)
        yield [changed()] * lines_after

    try:
        with pytest.raises(PartUnreachable, match="KafkaTimeoutError"):
            await publish_chunks(chunks(), breakable_parts.kafka.brokers, topics, patience_ms=1_000)
    finally:
        os.kill(process, signal.SIGCONT)


async def test_a_missing_topic_is_named_and_nothing_is_sent(
    kafka_brokers: str, topics: dict[Topic, str]
) -> None:
    without = topics | {Topic.ALERT_DELIVERY: "no-such-topic"}
    with pytest.raises(PartUnreachable, match="no-such-topic") as caught:
        await publish([changed()], kafka_brokers, without)
    assert caught.value.code == "missing_topic"
    assert not sum((await end_offsets(kafka_brokers, [topics[Topic.CONVERSATION]])).values())


def run(arguments: list[str], cwd: Path, lines: bytes = b"", **settings: str) -> Any:
    environment = os.environ | {f"QUARTERHOUR_{name}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "quarterhour", "publish", *arguments],
        input=lines,
        capture_output=True,
        cwd=cwd,
        env=environment,
        timeout=60,
        check=False,
    )


async def test_the_command_sums_up_and_has_status_1_if_a_line_was_bad(
    kafka_brokers: str, topics: dict[Topic, str], tmp_path: Path
) -> None:
    settings: Any = {
        "KAFKA_BROKERS": kafka_brokers,
        "TOPIC_CONVERSATION": topics[Topic.CONVERSATION],
        "TOPIC_AGENT_HANDOFF": topics[Topic.AGENT_HANDOFF],
        "TOPIC_ALERT_DELIVERY": topics[Topic.ALERT_DELIVERY],
    }
    done = run(["-"], tmp_path, changed() + b"\n" + BAD + b"\n", **settings)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "sent": {"conversation": 1, "agent-handoff": 0, "alert-delivery": 0},
        "refused": {"missing_field": 1},
    }
    assert b"line 2: missing_field: type\n" in done.stderr
    file = tmp_path / "events.ndjson"
    file.write_bytes(changed())
    assert run([str(file)], tmp_path, **settings).returncode == 0


def test_an_unreachable_broker_is_status_3_and_one_clear_line(tmp_path: Path) -> None:
    done = run(["-"], tmp_path, changed(), KAFKA_BROKERS="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.splitlines()[-1].startswith(
        b"quarterhour: part_unreachable: Kafka at 127.0.0.1:1: KafkaConnectionError"
    )
