"""Partitions added to topics while traffic flows, an operator's way on, and what the ledger holds then.

`python -m tests.drills.repartition`: 8 partitions become 12, so that two keys of three move. Workers read,
and are frozen while more is published and the topics are changed, so that the old partitions hold what
nobody has read. Producers go on by the new number, and some by the old one: before the ledger is
repartitioned, meanwhile and afterwards. The workers must stop, and `repartition` and the replay of dead
letters must lead to the records of all events; so must late events and copies of conversations that moved.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewPartitions

from quarterhour.comparing import Comparison, compare
from quarterhour.database import migrate_all
from quarterhour.parts import Parts
from quarterhour.parts.topics import administration, create_topics
from quarterhour.publishing import route
from quarterhour.traffic import traffic
from schemas.times import format_time_ms, parse_time_ms
from schemas.topics import Topic, partition_of
from streams.exits import Exit
from tests.drills.stand import parts_of_this_run
from tests.streams.stage import Stage, now_ms, staged, until

MINUTE_MS = 60_000
BEFORE = {Topic.CONVERSATION: 8, Topic.AGENT_HANDOFF: 8, Topic.ALERT_DELIVERY: 4}
AFTER = {Topic.CONVERSATION: 12, Topic.AGENT_HANDOFF: 12, Topic.ALERT_DELIVERY: 6}
STALE_OF = 40
"""One of so many events is sent by a producer that does not know of the new partitions yet."""
LATE_OF = 20
"""So many messages of conversations that moved get a late neighbour and a copy: one of them."""
SECOND_MS = 1_000


@dataclass(frozen=True)
class Report:
    """What became of it."""

    stopped: str
    """The last words of a worker that started after the change."""
    rows: list[dict[str, Any]]
    """What `repartition --yes` said, by topic."""
    reconciled: list[str]
    """Of the differences that `reconcile --deep` named: right after, and at the end."""
    replayed: int
    late: int
    states: dict[str, int]
    comparison: Comparison
    outcomes_equal: bool

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return (
            self.comparison.equal
            and self.outcomes_equal
            and not self.reconciled
            and set(self.states) == {"resolved"}
        )


async def add_partitions(stage: Stage, counts: Mapping[Topic, int]) -> None:
    """Give topics of a stage more partitions."""
    names = {stage.topics[topic]: NewPartitions(count) for topic, count in counts.items()}
    async with administration(stage.brokers) as admin:
        await admin.create_partitions(names)

    async def known() -> bool:
        async with administration(stage.brokers) as admin:
            found = await admin.describe_topics(list(names))
        return all(
            len(topic["partitions"]) == names[topic["topic"]].total_count
            and all(partition["leader"] >= 0 for partition in topic["partitions"])
            for topic in found
        )

    await until(known, "every partition has its leader")


async def publish_by(stage: Stage, lines: Iterable[bytes], counts: Mapping[Topic, int]) -> None:
    """Publish as a producer does that knows of so many partitions."""
    producer = AIOKafkaProducer(bootstrap_servers=stage.brokers, enable_idempotence=True)
    await producer.start()
    try:
        sent = []
        for line in lines:
            topic, key = route(line)
            partition = partition_of(key, counts[topic])
            sent.append(await producer.send(stage.topics[topic], line, key=key, partition=partition))
            stage.published.append(line)
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def late_ones(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Copies of some messages of conversations that moved, and late messages beside them."""
    moved = (line for line in lines if b'"conversation.message.v1"' in line and _has_moved(line))
    for number, line in enumerate(moved):
        if number % LATE_OF == 0:
            document = json.loads(line)
            document["id"] += "-late"
            document["time"] = format_time_ms(parse_time_ms(document["time"]) + SECOND_MS)
            yield from (line, json.dumps(document).encode())


async def play(stage: Stage, events: int, seed: int) -> Report:
    """Go through all of it."""
    lines = list(traffic(events, seed, now_ms() - MINUTE_MS))
    first, second, third = (lines[at : at + events // 3] for at in (0, events // 3, 2 * (events // 3)))
    third, stale = [line for at, line in enumerate(third) if at % STALE_OF], third[::STALE_OF]
    await _leave_unread(stage, first, second)
    await add_partitions(stage, AFTER)
    half = len(third) // 2
    await stage.publish(third[:half])
    await publish_by(stage, stale[::3], BEFORE)
    stopped = await _stopped(stage)
    await _done(stage, "repartition")
    rows, _ = await asyncio.gather(
        _done(stage, "repartition", "--yes"), publish_by(stage, stale[1::3], BEFORE)
    )
    reconciled = await _differences(stage)
    await publish_by(stage, stale[2::3], BEFORE)
    await stage.publish(third[half:])
    await stage.drain()
    replay = ("dead-letters", "replay", "--reason", "wrong_partition", "--why", "more partitions")
    sent = await _done(stage, *replay, "--confirm")
    await stage.drain()
    late = list(late_ones(lines))
    await stage.publish(late)
    await stage.drain()
    records, outcomes = stage.expected()
    outcomes["dead_letter"] += len(sent)
    return Report(
        stopped,
        rows,
        reconciled + await _differences(stage),
        len(sent),
        len(late),
        {row["state"]: row["dead_letters"] for row in await _done(stage, "dead-letters", "list", "--count")},
        compare(await stage.records(), records),
        await stage.outcomes() == +outcomes,
    )


async def _leave_unread(stage: Stage, read: list[bytes], unread: list[bytes]) -> None:
    """Have two workers read the ones, and freeze them before the others are published."""
    workers = []
    for _ in range(2):
        workers.append(stage.start())
        await workers[-1].ready()
    await stage.publish(read)
    await stage.drained()
    for worker in workers:
        worker.send(signal.SIGSTOP)
    await stage.publish(unread)


async def _stopped(stage: Stage) -> str:
    """Thaw the workers, and start another one: all must stop and save nothing."""
    offsets = "select topic, partition, next_offset from billing.source_partition order by 1, 2"
    before = await stage.query(offsets)
    for worker in stage.workers:
        worker.send(signal.SIGCONT)
    worker = stage.start()
    for one in stage.workers:
        assert await one.ended() == Exit.REFUSED, one.log
    assert await stage.query(offsets) == before
    return worker.log.splitlines()[-1]


async def _differences(stage: Stage) -> list[str]:
    status, rows, messages = await stage.answer("reconcile", "--deep")
    assert status in (0, 1), messages
    found = [json.dumps(row) for row in rows if row["type"] == "difference"]
    assert bool(found) == bool(status), messages
    return found


async def _done(stage: Stage, *arguments: str) -> list[dict[str, Any]]:
    status, rows, messages = await stage.answer(*arguments)
    assert status == 0, messages
    return rows


def _has_moved(line: bytes) -> bool:
    topic, key = route(line)
    return partition_of(key, BEFORE[topic]) != partition_of(key, AFTER[topic])


async def _main(parts: Parts, folder: Path, events: int, seed: int) -> Report:
    topics = {role: str(role) for role in Topic}
    await migrate_all(parts.postgres.dsn())
    await create_topics(parts.kafka.brokers, {topics[role]: count for role, count in BEFORE.items()})
    async with staged(parts.kafka.brokers, parts.postgres.dsn(), topics, folder) as stage:
        return await play(stage, events, seed)


@click.command()
@click.option("--events", type=click.IntRange(min=1_000), default=120_000, help="How many events in all.")
@click.option("--seed", type=int, default=1, help="Decides the traffic.")
def main(events: int, seed: int) -> None:
    """Add partitions in the middle of traffic, and go on."""
    began = time.monotonic()
    with parts_of_this_run("repartition") as (parts, folder):
        report = asyncio.run(_main(parts, folder, events, seed))
    print(f"{events:,} events; {time.monotonic() - began:.0f} s")
    print(f"three workers ended with 2: {report.stopped}")
    for row in report.rows:
        print("repartition:", ", ".join(f"{name} {value}" for name, value in row.items()))
    print(f"replayed: {report.replayed:,}; dead letters by state: {report.states}")
    print(f"late events and copies of conversations that moved: {report.late:,}")
    print(report.comparison.report("ledger", "reference of all events"))
    print(f"outcomes equal the reference's: {report.outcomes_equal}")
    print("\n".join(report.reconciled) or "reconcile --deep, right after and at the end: nothing")
    sys.exit(not report.is_good)


if __name__ == "__main__":
    main()
