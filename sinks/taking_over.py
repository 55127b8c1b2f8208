"""Going on with Kafka's logs as they now are, when they no longer hold what the ledger is to read next.

An operator's decision, in one transaction and under the operator's own login: the worker's role may neither
rename dead letters nor forget which topic was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg

from sinks.connecting import acting_as_login
from sinks.ledger import Refused, SourcePartition
from sinks.statements import statement


class PassOver(NamedTuple):
    """A partition to move past offsets that Kafka no longer holds: they become gaps."""

    source: SourcePartition
    next_offset: int


class ReadAnew(NamedTuple):
    """A topic to read from the start of its logs; what was read of its predecessor keeps the name `aside`."""

    topic: str
    topic_id: UUID | None
    log_starts: Mapping[int, int]
    aside: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What to do, given that these topics stand at the offsets `seen` and nowhere else."""

    seen: Mapping[SourcePartition, int]
    passed: Sequence[PassOver]
    anew: Sequence[ReadAnew]


async def take_over(dsn: str, plan: TakeOver) -> None:
    """Do all of it or, raising, nothing; fence the workers that read there.

    Raises `Unreachable` and `Refused`.
    """
    async with acting_as_login(dsn) as connection:
        await _check_seen(connection, plan)
        await _apply(connection, plan, uuid4())


async def _check_seen(connection: asyncpg.Connection, plan: TakeOver) -> None:
    topics = {source.topic for source in plan.seen}
    rows = await connection.fetch(statement("lock_partitions"), sorted(topics))
    found = {SourcePartition(topic, partition): offset for topic, partition, offset in rows}
    if found != plan.seen:
        raise Refused("the ledger has moved meanwhile, so nothing was changed: look again")


async def _apply(connection: asyncpg.Connection, plan: TakeOver, owner: UUID) -> None:
    for source, next_offset in plan.passed:
        await connection.execute(statement("pass_over"), *source, next_offset, owner)
    for topic, topic_id, log_starts, aside in plan.anew:
        await connection.execute(statement("set_aside"), topic, aside, owner)
        numbers, starts = list(log_starts), list(log_starts.values())
        await connection.execute(statement("begin_anew"), topic, numbers, starts, aside, owner)
        await connection.execute(statement("adopt_topic"), topic, topic_id)
