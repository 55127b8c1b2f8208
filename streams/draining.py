"""Draining: reading source partitions to the ends they have, by whoever owns the ledger, outside any group.

After partitions were added to a topic, what is unread in the old ones still lies where the old count put it.
Here it is read by that count, in an operator's process, with nothing but the engine: claiming the partitions
fences every worker that still runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from sinks.ledger import Ledger, OutcomeKey, Position, SourcePartition, SourceTopic
from streams.batches import Batch
from streams.cursor import Cursor
from streams.engine import Claim, Engine, OutOfPatience, Plan, Saved
from streams.positions import LogRange, why_refused
from streams.reads import ClaimedReads
from streams.sources import WrongTopics, check_answers, log_ranges
from streams.topic_ids import ask_leaders

READING = {"isolation_level": "read_committed", "auto_offset_reset": "none", "enable_auto_commit": False}
"""aiokafka's arguments for a consumer to drain with."""
FETCH_MAX_WAIT_MS = 500
CHECKPOINT_RECORDS = 100_000
CHECKPOINT_DEAD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Drained:
    """Where the partitions stand now, whose they are, and what became of what was read."""

    owner: UUID
    offsets: Mapping[SourcePartition, int]
    outcomes: Mapping[OutcomeKey, int]


async def drain(
    consumer: AIOKafkaConsumer, ledger: Ledger, plan: Plan, found: Mapping[str, SourceTopic]
) -> Drained:
    """Read all partitions of a plan to the ends they have once they are claimed, and save that.

    What transactions that are open then commit later is left, as is all that comes later.
    `found` are its topics as Kafka has them now, with other counts maybe, and they must stay so. The clocks
    of a topic's partitions are even then: all were read to their ends, and any may be asked about any key
    soon. Raises `WrongTopics`, `Fenced` and `OutOfPatience`.
    """
    return await _Draining(consumer, ledger, plan, found).run()


class _Draining:
    def __init__(
        self, consumer: AIOKafkaConsumer, ledger: Ledger, plan: Plan, found: Mapping[str, SourceTopic]
    ) -> None:
        self._consumer = consumer
        self._plan = plan
        self._found = found
        self._topics = {name: SourceTopic(count, None) for name, count in plan.partitions.items()}
        self._engine = Engine(ledger, plan, self._saved, self._confirm)
        self._reads = ClaimedReads()
        self._outcomes: Counter[OutcomeKey] = Counter()
        self._changes = 0
        """Of records, by the latest checkpoint."""

    async def run(self) -> Drained:
        starts = {source: start for source, (start, _) in (await self._log_ranges()).items()}
        number, positions = await self._engine.claim(starts)
        claim = self._engine.current
        assert claim, "nobody else claims with this engine"
        ranges = await self._log_ranges()  # nobody else can move the ledger any more
        _check(positions, ranges)
        self._begin(number, positions)
        await self._read(claim, {source: end for source, (_, end) in ranges.items()})
        await self._settle(claim)
        return Drained(claim.owner, dict(claim.saved), self._outcomes)

    async def _log_ranges(self) -> dict[SourcePartition, LogRange]:
        return await log_ranges(self._consumer, self._topics)

    def _begin(self, number: int, positions: Mapping[SourcePartition, Position]) -> None:
        # No await between the two: no fetch can ask for offsets that nobody has set.
        consumer = self._consumer
        consumer.assign([TopicPartition(*source) for source in positions])
        assignment = consumer._subscription.subscription.assignment
        self._reads.begin(
            *(assignment, assignment, number, positions),
            lambda source, offset: consumer.seek(TopicPartition(*source), offset),
        )

    async def _read(self, claim: Claim, ends: Mapping[SourcePartition, int]) -> None:
        patience = self._plan.patience_ms / 1000
        deadline = _now_seconds() + patience
        while behind := [it for it in claim.cursors.values() if it.next_offset < ends[it.source]]:
            self._pause([source for source in ends if claim.cursors[source].next_offset >= ends[source]])
            batches = await self._fetch()
            for source, batch in batches.items():
                if _is_full(claim):
                    await self._engine.checkpoint()
                await self._engine.process(_up_to(batch, ends[source]))
            if batches:
                deadline = _now_seconds() + patience
            elif _now_seconds() > deadline:
                raise OutOfPatience(_no_progress(behind[0], ends, patience))

    def _pause(self, sources: list[SourcePartition]) -> None:
        self._consumer.pause(*(TopicPartition(*source) for source in sources))

    async def _fetch(self) -> dict[SourcePartition, Batch]:
        try:
            fetched = await self._consumer.getmany(timeout_ms=FETCH_MAX_WAIT_MS)
        except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
            raise WrongTopics(f"Kafka no longer holds what is to be read next: {error!r}") from error
        assignment = self._consumer._subscription.subscription.assignment
        return self._reads.wrap(assignment, {place: [records] for place, records in fetched.items()})

    async def _settle(self, claim: Claim) -> None:
        """Save the rest, and settle by even clocks until nothing more does."""
        newest_ms: dict[str, int] = {}
        for source, cursor in claim.cursors.items():
            newest_ms[source.topic] = max(newest_ms.get(source.topic, 0), cursor.clock_ms)
        for source, cursor in claim.cursors.items():
            cursor.clock_ms = newest_ms[source.topic]
        self._changes = 1
        while self._changes:
            await self._engine.checkpoint()

    def _saved(self, saved: Saved) -> None:
        self._outcomes.update(saved.outcomes)
        self._changes = saved.changes.total()

    async def _confirm(self) -> None:
        """What was read is of the topics that were found."""
        places = [
            TopicPartition(name, number) for name, it in self._topics.items() for number in range(it[0])
        ]
        answers = await ask_leaders(self._consumer._client, list(self._found), places)
        check_answers(answers, self._found)


def _check(positions: Mapping[SourcePartition, Position], ranges: Mapping[SourcePartition, LogRange]) -> None:
    for source, position in positions.items():
        if trouble := why_refused(source, position.next_offset, ranges[source]):
            raise WrongTopics(trouble)


def _is_full(claim: Claim) -> bool:
    return claim.unsaved_records >= CHECKPOINT_RECORDS or claim.unsaved_dead_bytes >= CHECKPOINT_DEAD_BYTES


def _up_to(batch: Batch, end: int) -> Batch:
    """What of a batch is before this offset: what follows may lie where the new count puts it."""
    if batch.end <= end:
        return batch
    return batch._replace(end=end, records=[record for record in batch.records if record.offset < end])


def _no_progress(cursor: Cursor, ends: Mapping[SourcePartition, int], seconds: float) -> str:
    source = cursor.source
    return (
        f"{source.topic} partition {source.partition}: Kafka has answered no fetch for {seconds:.0f} s at "
        f"offset {cursor.next_offset}, and the log can be read to {ends[source]}"
    )


def _now_seconds() -> float:
    return asyncio.get_running_loop().time()
