"""Each reason of /readyz and /healthz on a real worker, and that a stuck one ends by itself.

What Kafka and PostgreSQL do when they are down is in test_worker.py; the judgement itself in test_health.py.
"""

import asyncio
import json
import re
import signal
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from quarterhour.parts import Parts
from quarterhour.parts.topics import delete_topics
from schemas.topics import Topic
from streams.exits import Exit
from streams.health import Code
from tests.streams.stage import PROGRAM, Json, Stage, WorkerProcess, event, now_ms, until

PLANTED = Path(__file__).with_name("planted.py")


async def test_an_open_transaction_of_a_producer_is_named_and_its_end_makes_ready_again(stage: Stage) -> None:
    worker = stage.start(patience="8s")
    await worker.ready()
    topic = stage.topics[Topic.CONVERSATION]
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers, transactional_id=f"open-{stage.group}")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, event("user", now_ms()), key=b"acme|sales|c-1")
    reason = await reason_of(worker, Code.OPEN_TRANSACTION)
    found = re.fullmatch(
        rf"{topic} partition (\d): no progress for \d+ s at offset 0, .* ends at 1: .*", reason
    )
    assert found, reason
    assert (await worker.page("/healthz"))[0] == 200
    _, metrics = await worker.page("/metrics")
    assert f'quarterhour_blocked_records{{partition="{found[1]}",topic="{topic}"}} 1.0' in metrics
    assert 'quarterhour_not_ready{code="open_transaction"} 1.0' in metrics
    assert "quarterhour_ready 0.0" in metrics
    assert "quarterhour_healthy 1.0" in metrics
    await producer.commit_transaction()
    await producer.stop()
    await worker.ready()
    await stage.drained()
    assert await stage.outcomes() == {"fact": 1}


async def test_a_locked_table_makes_the_checkpoint_overdue(stage: Stage) -> None:
    worker = stage.start()
    await worker.ready()
    connection = await asyncpg.connect(stage.dsn)
    async with connection.transaction():
        await connection.execute("lock table billing.source_partition in access exclusive mode")
        reason = await reason_of(worker, Code.CHECKPOINT_OVERDUE)
        assert re.fullmatch(r"no checkpoint for \d+ s", reason)
        assert (await worker.page("/healthz"))[0] == 200
    await connection.close()
    await worker.ready()


@pytest.mark.parametrize("role", [Topic.CONVERSATION, Topic.ALERT_DELIVERY])
async def test_a_deleted_topic_is_named_at_once_and_ends_the_worker_after_patience(
    stage: Stage, role: Topic
) -> None:
    worker = stage.start(patience="5s")
    await worker.ready()
    await delete_topics(stage.brokers, [stage.topics[role]])
    assert f"topic {stage.topics[role]}" in await reason_of(worker, Code.TOPIC_MISSING)
    assert await worker.ended() == 2
    assert f"missing in Kafka: topic {stage.topics[role]}; create them first" in worker.log


async def test_topics_that_metadata_lacks_for_a_moment_end_nothing(stage: Stage, tmp_path: Path) -> None:
    marker = tmp_path / "overlook"
    worker = start_planted(stage, "overlooking", OVERLOOK=str(marker))
    await worker.ready()
    marker.touch()
    await reason_of(worker, Code.TOPIC_MISSING)
    marker.unlink()
    await worker.ready()
    assert await worker.stop() == 0


async def test_nothing_is_claimed_while_a_topic_is_missing(stage: Stage, tmp_path: Path) -> None:
    marker = tmp_path / "overlook"
    worker = start_planted(stage, "overlooking", OVERLOOK=str(marker))
    await worker.ready()
    marker.touch()
    stage.program = PROGRAM
    other = stage.start()
    await other.ready()
    await until(lambda: declined(worker), "it claims nothing after the rebalance")
    await until(lambda: checkpoints_beyond([other], 5), "the other saves meanwhile")
    _, page = await worker.page("/readyz")
    assert Code.NOT_CLAIMED in page
    assert len(worker.owners) == 1
    marker.unlink()
    assert await other.stop() == 0
    await worker.ready()
    assert len(worker.owners) == 2
    assert await worker.stop() == 0


@pytest.mark.parametrize("role", [Topic.AGENT_HANDOFF, Topic.ALERT_DELIVERY])
async def test_partitions_added_while_running_end_the_worker_and_are_never_claimed(
    stage: Stage, role: Topic
) -> None:
    worker = stage.start()
    await worker.ready()
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.brokers)
    await admin.start()
    await admin.create_partitions({stage.topics[role]: NewPartitions(9)})
    await admin.close()
    assert await worker.ended() == 2
    assert re.search(rf"topic {stage.topics[role]} has 9 partitions( now)? and had", worker.log), worker.log
    rows = await stage.query("select max(partition) as n from billing.source_partition")
    assert rows[0]["n"] == 7


async def test_a_spare_worker_is_ready_for_as_long_as_it_has_nothing_to_do(stage: Stage, new_topics) -> None:
    stage.topics = await new_topics(dict.fromkeys(Topic, 1))
    workers = [stage.start(), stage.start()]
    for worker in workers:
        await worker.ready()
    await until(lambda: checkpoints_beyond(workers, 20), "one of them saves and saves")
    for worker in workers:
        assert await worker.page("/readyz") == (200, '{"ready":true,"reasons":[]}')
        assert (await worker.page("/healthz"))[0] == 200


async def test_a_worker_that_hangs_is_first_not_ready_then_unhealthy_and_ends_by_itself(stage: Stage) -> None:
    worker = start_planted(stage, "processing", patience="1s")
    await worker.ready()
    await stage.publish([event("user", now_ms())])
    assert "no progress for" in await reason_of(worker, Code.NO_PROGRESS)
    page = await unhealthy(worker)
    assert re.search(r"partition \d: no progress for \d+ s at offset 0, .* can be read to 1$", page["reason"])
    assert await worker.ended() == 70
    line = r"^quarterhour worker: stuck though nothing is waited for: .* \(exit status 70\)$"
    assert re.search(line, worker.log, re.MULTILINE)


async def test_a_partition_that_is_forgotten_while_others_are_read_is_noticed(stage: Stage) -> None:
    worker = start_planted(stage, "forgetting", patience="4s")
    await worker.ready()
    await stage.publish(event("user", now_ms(), f"c-{n}") for n in range(100))
    page = await unhealthy(worker)
    assert f"{stage.topics[Topic.CONVERSATION]} partition 0: no progress" in page["reason"]
    assert await worker.ended() == 70
    assert (await stage.outcomes())["fact"] > 50


async def test_a_checkpoint_that_never_ends_is_noticed_without_traffic(stage: Stage) -> None:
    worker = start_planted(stage, "saving", patience="1s")
    await reason_of(worker, Code.CHECKPOINT_OVERDUE)
    assert "no checkpoint for" in (await unhealthy(worker))["reason"]
    assert await worker.ended() == 70


async def test_a_worker_that_is_stopping_is_not_ended_for_its_health(
    stage: Stage, breakable_parts: Parts
) -> None:
    worker = stage.start(patience="3s")
    await worker.ready()
    await asyncio.to_thread(breakable_parts.kafka.kill)
    worker.send(signal.SIGTERM)  # without Kafka that takes longer than this patience
    assert await worker.ended() != Exit.OUT_OF_PATIENCE
    assert "Kafka has answered no fetch" not in worker.log


async def test_an_event_loop_that_stands_still_ends_the_worker(stage: Stage) -> None:
    worker = start_planted(stage, "blocking")
    await worker.ready()
    await stage.publish([event("user", now_ms())])
    assert await worker.ended() == 70
    assert "the event loop has stood still for 1 s" in worker.log


def start_planted(stage: Stage, bug: str, **settings: str) -> WorkerProcess:
    stage.program = (str(PLANTED), bug)
    return stage.start(**settings)


async def reason_of(worker: WorkerProcess, code: Code) -> str:
    """Wait until /readyz gives this reason, and return its text."""

    async def found() -> str | None:
        status, text = await worker.page("/readyz")
        reasons = json.loads(text)["reasons"] if status == 503 else []
        return next((reason["text"] for reason in reasons if reason["code"] == code), None)

    return await until(found, f"not ready because of {code}; its log: {worker.log[-2000:]}")


async def unhealthy(worker: WorkerProcess) -> Json:
    """Wait until /healthz answers 503, and return what it says."""

    async def found() -> Json | None:
        status, text = await worker.page("/healthz")
        return json.loads(text) if status == 503 else None

    page = await until(found, f"unhealthy; its log: {worker.log[-2000:]}")
    assert page["healthy"] is False
    return page


async def declined(worker: WorkerProcess) -> bool:
    return "nothing claimed: missing in Kafka" in worker.log


async def checkpoints_beyond(workers: Iterable[WorkerProcess], number: int) -> bool:
    pages = [(await worker.page("/metrics"))[1] for worker in workers]
    counts = re.findall(r"^quarterhour_checkpoint_seconds_count (\S+)$", "\n".join(pages), re.MULTILINE)
    return max(map(float, counts)) > number
