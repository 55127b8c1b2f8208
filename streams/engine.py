"""The stream's work under one claim after another: read batches, keep shards, save checkpoints.

Knows neither Faust nor a driver: batches come in, a `Ledger` is written, so all of it can be simulated.
What may go wrong and what then happens (architecture.md sections 1 and 2):

- the ledger is unreachable: the call is made again until PATIENCE is over, then `OutOfPatience`;
- another worker owns a partition: `Fenced`; records are missing between batches: `BrokenChain`. The process
  must end;
- any way out of a checkpoint but success forgets the claim: its memory and positions are void, nothing more
  is saved under it, and its batches are dropped by their number until the next claim.

A batch is only read when it comes. A checkpoint cuts off all that was read, takes it into the shards and is
saved; while it is, the next one may be taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar
from uuid import UUID, uuid4

from schemas.topics import Topic
from sessionizer.rules import RuleBook
from sinks.ledger import (
    Checkpoint,
    Fenced,
    Ledger,
    OutcomeKey,
    Position,
    RecordChange,
    Settled,
    SourcePartition,
    Unreachable,
)
from streams.batches import Batch
from streams.conversations import ConversationShard, Portion
from streams.cursor import Cursor, watermark_ms
from streams.dead_letter_limit import DeadLetterLimit
from streams.deliveries import AlertShard, Reports
from streams.reading import Contract, Reader, Reading

RETRY_SECONDS = 0.25
_KEPT_SHARE = 0.9

T = TypeVar("T")


class OutOfPatience(Exception):
    """A part was unreachable for longer than PATIENCE. The worker must stop."""


class UnfitAssignment(Exception):
    """Kafka gave this worker one partition of a shard and not the other. The worker must stop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment decides about the stream; all times in ms."""

    topics: Mapping[str, Topic]
    partitions: Mapping[str, int]
    rules: RuleBook
    contract: Contract
    allowed_lateness_ms: int
    patience_ms: int
    dead_letter_limit_share: float
    dead_letter_limit_run: int
    max_state_bytes: int = 1 << 30
    """Of conversations in memory, about; beyond it those touched longest ago leave."""
    max_unsaved_records: int = 500_000
    max_unsaved_dead_bytes: int = 128 << 20
    """Of dead letters: they are saved in one message, and PostgreSQL takes none above 1 GiB."""


@dataclass(slots=True)
class Load:
    """How much was read for one checkpoint."""

    records: int = 0
    dead_bytes: int = 0
    """Of dead letters."""


@dataclass(slots=True)
class Claim:
    """The partitions that are ours, and all that was read of them since."""

    number: int
    owner: UUID
    cursors: dict[SourcePartition, Cursor]
    readers: dict[SourcePartition, Reader]
    conversations: dict[int, ConversationShard]
    alerts: dict[int, AlertShard]
    limits: dict[SourcePartition, DeadLetterLimit]
    pending: Checkpoint
    unsaved: deque[Load] = field(default_factory=lambda: deque([Load()]))
    """Of the checkpoints that are not saved yet; the last one is still read for."""
    cuts: int = 0
    saved: dict[SourcePartition, int] = field(default_factory=dict)

    @property
    def unsaved_records(self) -> int:
        """How many records were read and are not saved."""
        return sum(load.records for load in self.unsaved)

    @property
    def unsaved_dead_bytes(self) -> int:
        """How long the dead letters among them are."""
        return sum(load.dead_bytes for load in self.unsaved)


@dataclass(frozen=True, slots=True)
class _Cut:
    """What was read until a moment, and how far, for one checkpoint: the claim's so many'th."""

    number: int
    checkpoint: Checkpoint
    conversations: list[tuple[ConversationShard, list[Portion]]]
    alerts: list[tuple[AlertShard, Reports]]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint that has committed did, for metrics and progress."""

    outcomes: Mapping[OutcomeKey, int]
    changes: Counter[RecordChange]
    seconds: float


async def _take_for_granted() -> None:
    pass


class Engine:
    """One worker's stream. Its methods may run concurrently in one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        on_saved: Callable[[Saved], None] = lambda saved: None,
        confirm: Callable[[], Awaitable[None]] = _take_for_granted,
    ) -> None:
        """`confirm` says that what was read until now may be saved; it may raise `Unreachable`, or refuse."""
        self._ledger = ledger
        self._plan = plan
        self._on_saved = on_saved
        self._confirm = confirm
        self._numbers = 0
        self._claim: Claim | None = None
        # In this order: who waits to save holds the first, so that checkpoints are saved as they were cut.
        self._taking, self._saving = asyncio.Lock(), asyncio.Lock()
        self._progress = asyncio.Condition()
        self.waiting_for: str | None = None
        """What last failed to answer, while it is being waited for."""
        self.calls = 0
        """How many calls have not been answered yet."""
        self.stale_batches = 0

    @property
    def current(self) -> Claim | None:
        """The claim in force."""
        return self._claim

    def watermarks_ms(self) -> dict[int, int]:
        """The watermark of each shard that is ours."""
        if self._claim is None:
            return {}
        by_shard: dict[int, list[Cursor]] = {}
        for cursor in self._claim.cursors.values():
            if self._topic(cursor.source) is not Topic.ALERT_DELIVERY:
                by_shard.setdefault(cursor.source.partition, []).append(cursor)
        return {shard: watermark_ms(cursors) for shard, cursors in sorted(by_shard.items())}

    async def claim(
        self, earliest: Mapping[SourcePartition, int]
    ) -> tuple[int, dict[SourcePartition, Position]]:
        """Own these partitions and nothing else; return the claim's number and where each one stands.

        Batches fetched from there on must bear that number. Raises `UnfitAssignment`, `OutOfPatience` and
        what `confirm` refuses with.
        """
        self._claim = None
        self._numbers += 1
        number, owner = self._numbers, uuid4()
        await self._patiently(self._confirm)
        self._check_pairs(earliest)
        positions = await self._patiently(lambda: self._ledger.claim(owner, earliest))
        if number == self._numbers:
            self._claim = self._new_claim(number, owner, positions)
        return number, positions

    async def process(self, batch: Batch) -> None:
        """Read a batch, and keep what it says for the next checkpoint.

        Raises `BrokenChain` and `TooManyDeadLetters`.
        """
        claim = await self._room_for(batch)
        if claim is None:
            self.stale_batches += 1
            return
        claim.cursors[batch.source].check(batch)
        self._keep(claim, batch, claim.readers[batch.source].read(batch))

    async def checkpoint(self, on_saving: Callable[[], None] = lambda: None) -> None:
        """Save what was read since the last one, and settle what the watermark has passed.

        While one checkpoint is saved another may be taken: `on_saving` is called when this one has come so
        far, or has ended. Raises `Fenced` and `OutOfPatience`. Any way out but success forgets the claim.
        """
        started = _now_seconds()
        async with self._taking:
            claim = self._claim
            try:
                if claim is None:
                    return
                cut = self._cut(claim)
                await self._take(cut)
                await self._saving.acquire()
            except BaseException:
                self._forget(claim)
                raise
            finally:
                on_saving()
        try:
            if claim is self._claim:  # else the one before it was not saved
                await self._save(claim, cut.checkpoint, started)
        finally:
            self._saving.release()
        async with self._taking:
            if claim is self._claim:
                self._let_go(claim, cut)

    async def _save(self, claim: Claim, checkpoint: Checkpoint, started: float) -> None:
        try:
            await self._patiently(self._confirm)
            changes = await self._patiently(lambda: self._ledger.save(checkpoint))
        except BaseException as error:
            was_current = self._forget(claim)
            if isinstance(error, Fenced) and not was_current:
                return  # the claim was given up meanwhile: whoever has it now is right
            raise
        claim.saved = {advance.source: advance.next_offset for advance in checkpoint.advances}
        claim.unsaved.popleft()
        async with self._progress:
            self._progress.notify_all()
        self._on_saved(Saved(checkpoint.outcomes, changes, _now_seconds() - started))

    async def hand_over(self, limit_seconds: float) -> None:
        """Save a last time if that succeeds within the limit, then give the claim up, whatever happened."""
        try:
            async with asyncio.timeout(limit_seconds):
                await self.checkpoint()
        finally:
            self._claim = None
            self._numbers += 1
            self.waiting_for = None

    def _forget(self, claim: Claim | None) -> bool:
        """Give this claim up; return whether it was the one in force."""
        was_current = claim is not None and claim is self._claim
        if was_current:
            self._claim = None
        return was_current

    def _topic(self, source: SourcePartition) -> Topic:
        return self._plan.topics[source.topic]

    def _check_pairs(self, sources: Mapping[SourcePartition, int]) -> None:
        owned: dict[Topic, set[int]] = {topic: set() for topic in Topic}
        for source in sources:
            owned[self._topic(source)].add(source.partition)
        if odd := owned[Topic.CONVERSATION] ^ owned[Topic.AGENT_HANDOFF]:
            raise UnfitAssignment(
                f"conversation and agent-handoff partitions differ in {sorted(odd)}: not co-partitioned"
            )

    def _new_claim(self, number: int, owner: UUID, positions: Mapping[SourcePartition, Position]) -> Claim:
        plan = self._plan
        claim = Claim(number, owner, {}, {}, {}, {}, {}, Checkpoint(owner, ()))
        for source, position in positions.items():
            claim.cursors[source] = Cursor.at(source, position)
            claim.saved[source] = position.next_offset
            claim.limits[source] = DeadLetterLimit(
                source, position, plan.dead_letter_limit_share, plan.dead_letter_limit_run
            )
            if self._topic(source) is Topic.ALERT_DELIVERY:
                claim.alerts[source.partition] = AlertShard(source)
            elif source.partition not in claim.conversations:
                claim.conversations[source.partition] = ConversationShard(source.partition, plan.rules)
            known = self._shard(claim, source).keys
            claim.readers[source] = Reader(
                *(source, self._topic(source), plan.partitions[source.topic], plan.contract, known)
            )
        return claim

    def _shard(self, claim: Claim, source: SourcePartition) -> ConversationShard | AlertShard:
        if self._topic(source) is Topic.ALERT_DELIVERY:
            return claim.alerts[source.partition]
        return claim.conversations[source.partition]

    async def _room_for(self, batch: Batch) -> Claim | None:
        """The batch's claim if it is in force, once less than the limit is unsaved."""

        def has_room() -> bool:
            claim = self._claim
            return (
                claim is None
                or claim.number != batch.claim
                or (
                    claim.unsaved_records < self._plan.max_unsaved_records
                    and claim.unsaved_dead_bytes < self._plan.max_unsaved_dead_bytes
                )
            )

        if not has_room():
            async with self._progress:
                await self._progress.wait_for(has_room)
        claim = self._claim
        return claim if claim and claim.number == batch.claim else None

    def _keep(self, claim: Claim, batch: Batch, reading: Reading) -> None:
        source = batch.source
        claim.limits[source].count(batch, reading.dead_letters)
        if self._topic(source) is Topic.ALERT_DELIVERY:
            claim.alerts[source.partition].keep(reading.reports)
        else:
            shard = claim.conversations[source.partition]
            before_ms = self.watermarks_ms()[shard.number] - self._plan.allowed_lateness_ms
            shard.keep(source, reading.facts, before_ms)
        _add(reading.outcomes, claim.pending.outcomes)
        claim.pending.dead_letters += reading.dead_letters
        load = claim.unsaved[-1]
        load.records += len(batch.records)
        load.dead_bytes += sum(len(letter.value or b"") for letter in reading.dead_letters)
        claim.cursors[source].advance(batch, reading.newest_ms)

    def _cut(self, claim: Claim) -> _Cut:
        """Take all that was read until now; what is read from now on is for the next checkpoint."""
        checkpoint, claim.pending = claim.pending, Checkpoint(claim.owner, ())
        claim.unsaved.append(Load())
        claim.cuts += 1
        lateness_ms = self._plan.allowed_lateness_ms
        checkpoint.settled = [
            Settled(shard, mark - lateness_ms) for shard, mark in self.watermarks_ms().items()
        ]
        checkpoint.advances = [
            cursor.take()._replace(counts=claim.limits[source].counts())
            for source, cursor in claim.cursors.items()
        ]
        for reader in claim.readers.values():
            reader.forget_groups()
        return _Cut(
            claim.cuts,
            checkpoint,
            [(shard, shard.cut()) for shard in claim.conversations.values()],
            [(alerts, alerts.cut()) for alerts in claim.alerts.values()],
        )

    async def _take(self, cut: _Cut) -> None:
        """Merge what was cut into the shards, and have them write their part of the checkpoint.

        Only who holds `_taking` changes shards, so nothing leaves them between look-up and merge.
        """
        checkpoint = cut.checkpoint
        settled_before_ms = dict(checkpoint.settled)
        for shard, portions in cut.conversations:
            await self._look_up(shard, chain.from_iterable(portion.facts.keys for portion in portions))
            for portion in portions:
                _add(shard.merge(portion), checkpoint.outcomes)
            portions.clear()
            shard.take(settled_before_ms[shard.number], cut.number, checkpoint)
        for alerts, reports in cut.alerts:
            await self._look_up(alerts, reports)
            _add(alerts.merge(reports), checkpoint.outcomes)
            alerts.take(cut.number, checkpoint)

    async def _look_up(self, shard: ConversationShard | AlertShard, kafka_keys: Iterable[bytes]) -> None:
        """Have the shard hold all of these as the ledger does."""
        unknown = shard.unknown(kafka_keys)
        if not unknown:
            return
        keys = list(unknown.values())
        if isinstance(shard, ConversationShard):
            conversations = await self._patiently(lambda: self._ledger.look_up_conversations(keys))
            shard.admit(unknown, conversations)
        else:
            alerts = await self._patiently(lambda: self._ledger.look_up_alerts(keys))
            shard.admit(unknown, alerts)

    def _let_go(self, claim: Claim, cut: _Cut) -> None:
        """Let go of what the ledger holds now that this cut is saved: what has settled, and idle ones."""
        for settled in cut.checkpoint.settled:
            claim.conversations[settled.shard].forget_settled(settled.before_ms, cut.number)
        held_bytes = sum(shard.held_bytes for shard in claim.conversations.values())
        if held_bytes > self._plan.max_state_bytes:
            # Some more than must, so that not every checkpoint has to.
            share = 1 - _KEPT_SHARE * self._plan.max_state_bytes / held_bytes
            for shard in claim.conversations.values():
                shard.forget_idle(int(shard.held_bytes * share), cut.number)
        for alerts in claim.alerts.values():
            alerts.forget_saved(cut.number)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer or PATIENCE is over; a first call may take its own time."""
        deadline = _now_seconds() + self._plan.patience_ms / 1000
        limit: float | None = None
        while True:
            self.calls += 1
            try:
                async with asyncio.timeout(limit):
                    answer = await call()
            except (Unreachable, TimeoutError) as error:
                self.waiting_for = str(error) or self.waiting_for
                limit = deadline - _now_seconds()
                if limit <= 0:
                    raise OutOfPatience(self.waiting_for) from error
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.waiting_for = None
                return answer
            finally:
                self.calls -= 1


def _now_seconds() -> float:
    """The event loop's clock, so that a simulated loop is a simulated time."""
    return asyncio.get_running_loop().time()


def _add(counts: Mapping[OutcomeKey, int], sums: dict[OutcomeKey, int]) -> None:
    for key, count in counts.items():
        sums[key] = sums.get(key, 0) + count
