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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar
from uuid import UUID, uuid4

from schemas.reasons import Reason, Rejected
from schemas.times import DAY_MS
from schemas.topics import Topic, join_key
from sessionizer.packed import by_conversation
from sessionizer.rules import RuleBook
from sinks.ledger import (
    Checkpoint,
    Fenced,
    Horizon,
    Ledger,
    NamedConversation,
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
from streams.reading import Contract, Reader, Reading, dead_letter, dead_letter_key
from streams.sealing import OldFacts, seal_row

RETRY_SECONDS = 0.25
RECOMPUTED_AT_ONCE = 500
"""Conversations of a shard, in a checkpoint."""
RECOMPUTE_LOOK_SECONDS = 5.0
SEALED_OF_SHARD = 200
"""Conversations of a shard, each time."""
SEALED_AT_ONCE = 20
"""Of them, in one transaction."""
# By how much the clocks of brokers and workers may differ.
_CLOCK_SKEW_MS = DAY_MS
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
    seal_after_ms: int = 400 * DAY_MS
    """Facts this much older than the watermark are sealed; never below the largest age of an event."""
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
    old: dict[int, list[tuple[SourcePartition, OldFacts]]] = field(default_factory=dict)
    """By shard, read and not cut yet."""
    watermarks_ms: dict[int, int] = field(default_factory=dict)
    """Of each shard, as of the last checkpoint that was saved."""
    cuts: int = 0
    saved: dict[SourcePartition, int] = field(default_factory=dict)

    def look_out_for_old(self, time_ms: int) -> None:
        """Have facts up to this time looked up before they count: a seal may have left them behind."""
        for reader in self.readers.values():
            reader.old_ms = max(reader.old_ms, time_ms)

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
    old: dict[int, list[tuple[SourcePartition, OldFacts]]]
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
        self._requests_looked_for = 0.0
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

    def is_behind(self, readable_ends: Mapping[SourcePartition, int]) -> bool:
        """Whether much is left to read up to these offsets: more than a fifth of what may be unsaved.

        Not when half of that is unsaved: then a checkpoint is due, or reading would have to wait.
        """
        claim = self._claim
        if claim is None:
            return False
        left = sum(
            end - claim.cursors[source].next_offset
            for source, end in readable_ends.items()
            if source in claim.cursors
        )
        most = self._plan.max_unsaved_records
        return left > most / 5 and claim.unsaved_records < most / 2

    async def claim(
        self, earliest: Mapping[SourcePartition, int], now_ms: int = 0
    ) -> tuple[int, dict[SourcePartition, Position]]:
        """Own these partitions and nothing else; return the claim's number and where each one stands.

        `now_ms` is the wall clock, which partitions that are read to their end follow from there on.
        Batches fetched from there on must bear that number. Raises `UnfitAssignment`, `OutOfPatience` and
        what `confirm` refuses with.
        """
        self._claim = None
        self._numbers += 1
        number, owner = self._numbers, uuid4()
        await self._patiently(self._confirm)
        self._check_pairs(earliest)
        positions = await self._patiently(lambda: self._ledger.claim(owner, earliest))
        sealed_through_ms = await self._patiently(self._ledger.sealed_through_ms)
        if number == self._numbers:
            self._claim = self._new_claim(number, owner, positions, now_ms)
            self._claim.look_out_for_old(sealed_through_ms)
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

    async def seal(self, limit_seconds: float) -> int:
        """Seal conversations whose facts are old enough, for about so long; return how many.

        No checkpoint is taken or saved meanwhile, so the ledger holds all that is known of what is not in
        memory. Raises `Fenced` and `OutOfPatience`, which forget the claim.
        """
        ends = _now_seconds() + limit_seconds
        async with self._taking, self._saving:
            claim = self._claim
            if claim is None or not (horizons := self._horizons(claim)):
                return 0
            claim.look_out_for_old(max(horizon.before_ms for horizon in horizons) + _CLOCK_SKEW_MS)
            try:
                return await self._seal(claim, horizons, ends)
            except BaseException as error:
                was_current = self._forget(claim)
                if isinstance(error, Fenced) and not was_current:
                    return 0  # as for a checkpoint
                raise

    async def _seal(self, claim: Claim, horizons: Sequence[Horizon], ends: float) -> int:
        found = await self._patiently(lambda: self._ledger.sealable(horizons, SEALED_OF_SHARD))
        idle = [it for it in found if join_key(*it[2:]) not in claim.conversations[it.shard].keys]
        before_ms, sealed = dict(horizons), 0
        for at in range(0, len(idle), SEALED_AT_ONCE):
            if _now_seconds() > ends:
                break
            sealed += await self._seal_some(claim, idle[at : at + SEALED_AT_ONCE], before_ms)
        return sealed

    async def _seal_some(
        self, claim: Claim, some: Sequence[NamedConversation], before_ms: Mapping[int, int]
    ) -> int:
        keys = [named.key for named in some]
        stored = await self._patiently(lambda: self._ledger.look_up_conversations(keys))
        rows = [
            seal_row(named, stored[named.key], self._plan.rules, before_ms[named.shard]) for named in some
        ]
        sources = [source for source in claim.cursors if self._topic(source) is not Topic.ALERT_DELIVERY]
        await self._patiently(lambda: self._ledger.seal(claim.owner, sources, rows))
        return sum(row.seal is not None for row in rows)

    def _horizons(self, claim: Claim) -> list[Horizon]:
        """As of the last checkpoint saved: what is not saved yet may be as old as that allows."""
        reach_ms = self._plan.contract.max_ahead_ms + self._plan.seal_after_ms
        return [Horizon(shard, mark - reach_ms) for shard, mark in sorted(claim.watermarks_ms.items())]

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
        lateness_ms = self._plan.allowed_lateness_ms
        claim.watermarks_ms = {shard: before_ms + lateness_ms for shard, before_ms in checkpoint.settled}
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

    def _new_claim(
        self, number: int, owner: UUID, positions: Mapping[SourcePartition, Position], now_ms: int
    ) -> Claim:
        plan = self._plan
        claim = Claim(number, owner, {}, {}, {}, {}, {}, Checkpoint(owner, ()))
        for source, position in positions.items():
            claim.cursors[source] = Cursor.at(source, position, now_ms)
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
            if reading.old:
                claim.old.setdefault(shard.number, []).append((source, reading.old))
        _add(reading.outcomes, claim.pending.outcomes)
        claim.pending.dead_letters += reading.dead_letters
        load = claim.unsaved[-1]
        load.records += len(batch.records)
        load.dead_bytes += sum(len(letter.value or b"") for letter in reading.dead_letters)
        claim.cursors[source].advance(batch, reading.newest_ms)

    def _cut(self, claim: Claim) -> _Cut:
        """Take all that was read until now; what is read from now on is for the next checkpoint."""
        checkpoint, claim.pending = claim.pending, Checkpoint(claim.owner, ())
        old, claim.old = claim.old, {}
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
            old,
            [(alerts, alerts.cut()) for alerts in claim.alerts.values()],
        )

    async def _take(self, cut: _Cut) -> None:
        """Merge what was cut into the shards, and have them write their part of the checkpoint.

        Only who holds `_taking` changes shards, so nothing leaves them between look-up and merge.
        """
        checkpoint = cut.checkpoint
        settled_before_ms = dict(checkpoint.settled)
        await self._bill_requested(cut)
        for shard, portions in cut.conversations:
            for source, old in cut.old.get(shard.number, ()):
                await self._look_up(shard, old.keys)
                portions.append(_judged(shard, source, old, settled_before_ms[shard.number], checkpoint))
            await self._look_up(shard, chain.from_iterable(portion.facts.keys for portion in portions))
            for portion in portions:
                _add(shard.merge(portion), checkpoint.outcomes)
            portions.clear()
            shard.take(settled_before_ms[shard.number], cut.number, checkpoint)
        for alerts, reports in cut.alerts:
            await self._look_up(alerts, reports)
            _add(alerts.merge(reports), checkpoint.outcomes)
            alerts.take(cut.number, checkpoint)

    async def _bill_requested(self, cut: _Cut) -> None:
        """Have what operators asked for billed anew with this cut."""
        if _now_seconds() < self._requests_looked_for:
            return
        shards = {shard.number: shard for shard, _ in cut.conversations}
        if not shards:
            return
        found = await self._patiently(
            lambda: self._ledger.recompute_requests(sorted(shards), RECOMPUTED_AT_ONCE)
        )
        for number, shard in shards.items():
            keys = [join_key(*names) for of, _, *names in found if of == number]
            await self._look_up(shard, keys)
            shard.bill_anew(keys, dict(cut.checkpoint.settled)[number])
        cut.checkpoint.recomputed += found
        if not found:
            self._requests_looked_for = _now_seconds() + RECOMPUTE_LOOK_SECONDS

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


def _judged(
    shard: ConversationShard,
    source: SourcePartition,
    old: OldFacts,
    settled_before_ms: int,
    checkpoint: Checkpoint,
) -> Portion:
    """Those facts that count; the records of the others become dead letters."""
    counting, records = shard.judge(old)
    for record in records:
        rejected = Rejected(Reason.TOO_OLD, "time", "its conversation is sealed through a later time")
        _add({dead_letter_key(source, rejected): 1}, checkpoint.outcomes)
        checkpoint.dead_letters.append(dead_letter(source, record, rejected))
    return Portion(source, by_conversation([counting]), settled_before_ms)


def _add(counts: Mapping[OutcomeKey, int], sums: dict[OutcomeKey, int]) -> None:
    for key, count in counts.items():
        sums[key] = sums.get(key, 0) + count
