"""Moving a ledger to other numbers of partitions: every shard to the partition that its keys have now.

An operator's act, in one transaction and under the operator's own login: the worker's role may not say how
many partitions a topic has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from schemas.topics import Topic, join_key, partitions_of
from sinks.connecting import acting_as_login
from sinks.ledger import Refused, SourcePartition
from sinks.statements import statement

KEYS_AT_ONCE = 10_000
# What has a shard of its own. An agent-handoff is a part of its conversation.
_KINDS = {Topic.CONVERSATION: "usage", Topic.ALERT_DELIVERY: "alert"}


class Layout(NamedTuple):
    """A topic's new number of partitions, and where the logs of those begin that were added."""

    topic: str
    role: Topic
    partitions: int
    added: Mapping[int, int]


class Moved(NamedTuple):
    """How much goes to another shard."""

    conversations: int
    records: int


@dataclass(frozen=True, slots=True)
class Repartition:
    """What to do, given that all partitions of these topics stand at `seen` and belong to `owner`."""

    owner: UUID
    seen: Mapping[SourcePartition, int]
    layouts: Sequence[Layout]


async def count_moves(dsn: str, layouts: Sequence[Layout]) -> dict[str, Moved]:
    """What would go to another shard, by topic; changes nothing. Raises `Unreachable` and `Refused`."""
    async with acting_as_login(dsn) as connection:
        await connection.execute(statement("repartition_moved"))
        return {layout.topic: await _count(connection, layout) for layout in layouts}


async def repartition(dsn: str, plan: Repartition) -> dict[str, Moved]:
    """Do all of it or, raising, nothing; fence whoever reads these topics. Return what moved, by topic.

    Raises `Unreachable` and `Refused`.
    """
    async with acting_as_login(dsn) as connection:
        await _check_seen(connection, plan)
        await connection.execute(statement("repartition_moved"))
        owner = uuid4()
        return {layout.topic: await _move(connection, layout, owner) for layout in plan.layouts}


async def _check_seen(connection: asyncpg.Connection, plan: Repartition) -> None:
    topics = sorted(layout.topic for layout in plan.layouts)
    rows = await connection.fetch(statement("repartition_lock"), topics)
    found = {SourcePartition(topic, number): (offset, owner) for topic, number, offset, owner in rows}
    if found != {source: (offset, plan.owner) for source, offset in plan.seen.items()}:
        raise Refused("a worker has claimed partitions meanwhile, so nothing was moved: stop all workers")


async def _move(connection: asyncpg.Connection, layout: Layout, owner: UUID) -> Moved:
    numbers, starts = list(layout.added), list(layout.added.values())
    await connection.execute(
        statement("repartition_topic"), layout.topic, numbers, starts, owner, layout.partitions
    )
    if not (kind := _KINDS.get(layout.role)):
        return Moved(0, 0)
    await _find_moved(connection, kind, layout.partitions)
    conversations = await connection.execute(statement("repartition_conversations"), kind)
    records = await connection.execute(statement("repartition_records"), kind)
    await connection.execute(statement("repartition_requests"))
    return Moved(_rows(conversations), _rows(records))


async def _count(connection: asyncpg.Connection, layout: Layout) -> Moved:
    if not (kind := _KINDS.get(layout.role)):
        return Moved(0, 0)
    await _find_moved(connection, kind, layout.partitions)
    return Moved(*await connection.fetchrow(statement("repartition_count"), kind))


async def _find_moved(connection: asyncpg.Connection, kind: str, partitions: int) -> None:
    """Put where they are only for now what lies in another shard than its key belongs to."""
    cursor = await connection.cursor(statement("repartition_subjects"), kind)
    while rows := await cursor.fetch(KEYS_AT_ONCE):
        shards = partitions_of([join_key(*names) for *names, _ in rows], partitions)
        moved = [
            (kind, *names, shard)
            for (*names, before), shard in zip(rows, shards, strict=True)
            if shard != before
        ]
        await connection.copy_records_to_table("moved_subject", schema_name="pg_temp", records=moved)


def _rows(status: str) -> int:
    return int(status.rpartition(" ")[2])
