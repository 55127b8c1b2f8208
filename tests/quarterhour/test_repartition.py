"""`quarterhour repartition` after partitions were added: what it tells, refuses and does; a crash of it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from schemas.topics import Topic, partition_of
from tests.drills.repartition import AFTER, add_partitions, play, publish_by
from tests.streams.stage import Json, Stage, event, now_ms, staged, until

AHEAD_MS = 4_000
BEFORE = {Topic.CONVERSATION: 8, Topic.AGENT_HANDOFF: 8, Topic.ALERT_DELIVERY: 4}
PAIR = {Topic.CONVERSATION: 12, Topic.AGENT_HANDOFF: 12}
EVERYTHING = "select * from billing.source_partition order by topic, partition"
CONNECTED = """select pid from pg_stat_activity
where datname = current_database() and application_name like 'quarterhour-%'"""
WAITING = f"{CONNECTED} and wait_event_type = 'Lock'"


def conversations(count: int, since: int = 0) -> list[bytes]:
    """A message and an alert each, and a handoff of every other one.

    Somewhat ahead of the wall clock, so that the clocks of partitions differ though all are read to the end.
    """
    begun_ms, lines = now_ms(), []
    for number in range(since, since + count):
        at_ms = begun_ms + number * AHEAD_MS
        lines += [event("user", at_ms, f"c-{number}"), event("delivered", at_ms, f"d-{number}")]
        if number % 2:
            lines.append(event("started", at_ms + 1, f"c-{number}"))
    return lines


async def repartition(stage: Stage, *arguments: str, **settings: str) -> tuple[int | None, list[Json], str]:
    """Run `quarterhour repartition`: status, rows and messages."""
    return await stage.answer("repartition", *arguments, **settings)


async def check(stage: Stage, dead_letters: int = 0) -> None:
    """The ledger is that of all that was published, in itself and by the reference."""
    status, _, messages = await stage.answer("reconcile", "--deep")
    assert status == 0, messages
    stage_outcomes = await stage.outcomes()
    records, outcomes = stage.expected()
    outcomes["dead_letter"] += dead_letters
    assert stage_outcomes == +outcomes
    assert [row["session_id"] for row in await stage.records()] == [row["session_id"] for row in records]


async def test_nothing_to_do_is_told(stage: Stage) -> None:
    assert await repartition(stage) == (0, [], _nothing())
    await stage.publish(conversations(3))
    await stage.drain()
    assert await repartition(stage, "--yes") == (0, [], _nothing())


async def test_it_is_shown_first_then_done_and_workers_go_on(stage: Stage) -> None:
    await stage.publish(conversations(20))
    await stage.drain()
    await stage.publish(conversations(20, since=20))
    await add_partitions(stage, AFTER)
    worker = stage.start()
    assert await worker.ended() == 2 and "`quarterhour repartition` is the way on" in worker.log
    before = await stage.query(EVERYTHING)
    status, rows, messages = await repartition(stage)
    assert status == 0 and "nothing was changed: stop all workers, then add --yes" in messages
    assert await stage.query(EVERYTHING) == before
    topics = [stage.topics[role] for role in Topic]
    assert [(row["topic"], row["partitions"], row["new_partitions"]) for row in rows] == [
        *[(topics[0], 8, 12), (topics[1], 8, 12), (topics[2], 4, 6)]
    ]
    assert [row["unread"] for row in rows] == [20, 10, 20]
    moving = _moving([f"c-{number}" for number in range(20)], 8, 12)
    assert (rows[0]["conversations"], rows[0]["records"]) == (moving, moving)
    assert rows[2]["records"] == _moving([f"d-{number}" for number in range(20)], 4, 6)

    status, rows, messages = await repartition(stage, "--yes")
    assert status == 0 and "done: start the workers" in messages, messages
    assert [(row["read"], row["wrong_partition"]) for row in rows] == [(20, 0), (10, 0), (20, 0)]
    assert rows[0]["conversations"] == _moving([f"c-{number}" for number in range(40)], 8, 12)
    await check(stage)
    assert await repartition(stage, "--yes") == (0, [], _nothing())
    await stage.publish(conversations(40, since=10))
    await stage.drain()
    await check(stage)


async def test_a_record_that_is_keyed_by_the_other_number_is_a_dead_letter_until_replayed(
    stage: Stage,
) -> None:
    await stage.publish(conversations(10))
    await stage.drain()
    await add_partitions(stage, AFTER)
    await stage.publish(conversations(20, since=10))
    status, rows, messages = await repartition(stage, "--yes")
    assert status == 0
    misplaced = sum(row["wrong_partition"] for row in rows)
    assert misplaced and misplaced == sum(row["dead_letters"] for row in rows)
    assert f"{misplaced} records lay where the new number of partitions puts them" in messages
    await publish_by(stage, conversations(20, since=20), BEFORE)
    await stage.drain()
    replay = ("dead-letters", "replay", "--reason", "wrong_partition", "--why", "moved", "--confirm")
    status, sent, messages = await stage.answer(*replay)
    assert status == 0 and len(sent) > misplaced, messages
    await stage.drain()
    await check(stage, dead_letters=len(sent))


async def test_alerts_may_have_more_partitions_alone(stage: Stage) -> None:
    await stage.publish(conversations(10))
    await stage.drain()
    await stage.publish(conversations(10, since=10))
    await add_partitions(stage, {Topic.ALERT_DELIVERY: 7})
    status, rows, _ = await repartition(stage, "--yes")
    assert status == 0
    assert [(row["topic"], row["read"]) for row in rows] == [(stage.topics[Topic.ALERT_DELIVERY], 10)]
    await stage.drain()
    await check(stage)


async def test_it_goes_on_after_it_was_killed_between_reading_and_moving(stage: Stage) -> None:
    await stage.publish(conversations(10))
    await stage.drain()
    await stage.publish(conversations(10, since=10))
    await add_partitions(stage, AFTER)
    blocker = await asyncpg.connect(stage.dsn)
    async with blocker.transaction():
        await blocker.execute("lock table billing.source_topic in share mode")  # who reads it does not wait
        killed = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quarterhour", "repartition", "--yes"),
            env={**os.environ, **stage.environment()},
        )
        await until(lambda: stage.query(WAITING), "it is about to move what it has read")
        killed.kill()
        await killed.wait()
    await blocker.close()
    await until(lambda: _gone(stage), "its connection has ended")
    known = await stage.query("select distinct partitions from billing.source_topic order by 1")
    assert [row["partitions"] for row in known] == [4, 8]
    assert await stage.outcomes() == {"fact": 50}, "all that was unread is saved"
    assert await stage.start().ended() == 2
    status, rows, messages = await repartition(stage, "--yes")
    assert status == 0, messages
    assert [(row["unread"], row["read"]) for row in rows] == [(0, 0)] * 3
    await stage.drain()
    await check(stage)


async def test_what_it_does_not_mend_is_refused_by_name(stage: Stage) -> None:
    conversation, alerts = stage.topics[Topic.CONVERSATION], stage.topics[Topic.ALERT_DELIVERY]
    await stage.publish(conversations(10))
    await stage.drain()
    await stage.publish(conversations(10))
    await add_partitions(stage, {Topic.CONVERSATION: 12})
    await _refused(stage, f"topic {conversation} has 12 partitions", "they must have the same number")
    await add_partitions(stage, {Topic.AGENT_HANDOFF: 12})
    await stage.query("update billing.source_topic set partitions = 5 where topic = $1", alerts)
    await _refused(stage, f"topic {alerts} has 4 partitions and had 5")
    await stage.query("update billing.source_topic set partitions = 4 where topic = $1", alerts)
    await stage.query("update billing.source_topic set topic_id = gen_random_uuid() where topic = $1", alerts)
    await _refused(stage, f"topic {alerts} was deleted and created anew", "`quarterhour positions")
    await stage.query("update billing.source_topic set topic_id = null where topic = $1", alerts)
    (row,) = await stage.query(
        "select partition, next_offset from billing.source_partition where topic = $1 and next_offset > 0"
        " limit 1",
        conversation,
    )
    await stage.forget_records({(conversation, row["partition"]): row["next_offset"] + 1})
    await _refused(stage, "1 offsets in between are gone from Kafka", "`quarterhour positions")


async def test_what_a_transaction_commits_later_is_not_lost(stage: Stage) -> None:
    await stage.publish(conversations(20))
    await stage.drain()
    await add_partitions(stage, AFTER)
    moving = next(f"c-{number}" for number in range(20) if _moving([f"c-{number}"], 8, 12))
    line, key = event("user", now_ms(), moving), f"acme|sales|{moving}".encode()
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers, transactional_id=stage.group)
    await producer.start()
    async with producer.transaction():
        topic, partition = stage.topics[Topic.CONVERSATION], partition_of(key, 8)
        await producer.send_and_wait(topic, line, key=key, partition=partition)
        status, rows, messages = await repartition(stage, "--yes")
        assert (status, rows[0]["read"]) == (0, 0), messages
    await producer.stop()
    stage.published.append(line)
    await stage.drain()
    replay = ("dead-letters", "replay", "--reason", "wrong_partition", "--why", "moved", "--confirm")
    status, sent, _ = await stage.answer(*replay)
    assert (status, len(sent)) == (0, 1)
    await stage.drain()
    await check(stage, dead_letters=1)


async def test_a_missing_part_has_its_status(stage: Stage) -> None:
    status, _, messages = await repartition(stage, kafka_brokers="127.0.0.1:1")
    assert status == 3 and "Kafka" in messages


async def test_the_bill_is_the_same_after_partitions_were_added_in_the_middle(
    kafka_brokers: str, database: str, new_topics: Any, tmp_path: Any
) -> None:
    """Workers frozen with records unread, producers by both numbers, late events and copies."""
    async with staged(kafka_brokers, database, await new_topics(BEFORE), tmp_path) as stage:
        report = await play(stage, 6_000, seed=7)
    assert report.is_good, report
    assert report.replayed and report.late and all(row["unread"] for row in report.rows)


async def _refused(stage: Stage, *told: str) -> None:
    before = await stage.query(EVERYTHING)
    for arguments in ((), ("--yes",)):
        status, rows, messages = await repartition(stage, *arguments)
        assert (status, rows) == (1, []), messages
        assert all(text in messages for text in told), messages
    assert await stage.query(EVERYTHING) == before


async def _gone(stage: Stage) -> bool:
    return not await stage.query(CONNECTED)


def _moving(subject_ids: list[str], before: int, after: int) -> int:
    keys = [f"acme|sales|{subject_id}".encode() for subject_id in subject_ids]
    return sum(partition_of(key, before) != partition_of(key, after) for key in keys)


def _nothing() -> str:
    return "every topic has as many partitions as at first: nothing to repartition\n"
