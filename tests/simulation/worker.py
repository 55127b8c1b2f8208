"""A worker process: the real `Engine` and `ClaimedReads`, between a stand-in for Faust and the network.

The tasks and their order are those of `streams/transport.py`, `streams/worker.py` and of what Faust 0.15 does
around them: a fetch loop that waits while the flow is stopped (transport/consumer.py), delivery into Faust's
own bounded queue, which a revocation empties (transport/conductor.py, mode's queues), a checkpoint loop, and
a rebalance that hands over, joins, claims, seeks and only then resumes (app/base.py, tables/recovery.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Protocol

from mode.utils.queues import FlowControlEvent, ThrowableQueue

from schemas.topics import Topic
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Fenced, Ledger, SourcePartition
from streams.batches import Batch
from streams.engine import Engine, OutOfPatience, Plan
from streams.reading import Contract
from streams.reads import ClaimedReads
from tests.simulation.consumer import Consumer, OutOfRange
from tests.simulation.kafka import HEARTBEAT_SECONDS, PARTITIONS, Broker
from tests.simulation.traffic import MAX_AGE_MS

MINUTE_MS = 60_000
RULES = RuleSet(0, block_ms=4 * MINUTE_MS, idle_timeout_ms=5 * MINUTE_MS, handoff_timeout_ms=30 * MINUTE_MS)
PLAN = Plan(
    topics={str(topic): topic for topic in Topic},
    partitions={str(topic): PARTITIONS for topic in Topic},
    rules=RuleBook([RULES]),
    contract=Contract(max_ahead_ms=5 * MINUTE_MS, max_age_ms=MAX_AGE_MS),
    allowed_lateness_ms=MINUTE_MS,
    seal_after_ms=MAX_AGE_MS,
    patience_ms=4_000,
    dead_letter_limit_share=1.0,
    dead_letter_limit_run=1_000,
    max_state_bytes=3_000,  # four conversations or five
    max_unsaved_records=25,
)
HAND_OVER_SECONDS = 1.0
BATCHES_QUEUED = 3
POLL_SECONDS = 1.0
COMMIT_SECONDS = 2.0
SEAL_PAUSE_SECONDS, SEAL_SECONDS = 0.5, 0.2


class Surroundings(Protocol):
    """What a worker is told by the world, and tells it."""

    broker: Broker
    dice: Random

    def now_ms(self) -> int:
        """The wall clock."""
        ...

    async def travel(self) -> None:
        """To the broker, or back."""
        ...

    def note(self, text: str) -> None:
        """Put a line into the trace."""
        ...

    def ended(self, reason: str, *, expected: bool) -> None:
        """The process ends here and now."""
        ...


class Worker:
    """One life of a worker process."""

    def __init__(self, name: str, member: str | None, ledger: Ledger, surroundings: Surroundings) -> None:
        """`member` is its static group instance id, if it has one."""
        self.name = name
        self._is_static = member is not None
        self._member = member or name
        self.engine = Engine(ledger, PLAN, confirm=surroundings.travel)
        self.reads = ClaimedReads()
        self.stale_batches = 0
        """Batches that were dropped before the engine saw them."""
        self._world = surroundings
        self._group = surroundings.broker.group
        self._interval_seconds = surroundings.dice.uniform(0.1, 1.0)
        self._leaves_claims = surroundings.dice.random() < 0.5
        self._joins = 0
        world = surroundings
        self._consumer = Consumer(world.broker, world, world.dice, world.now_ms)
        self._can_flow, self._is_stopped = asyncio.Event(), asyncio.Event()
        self._flow = FlowControlEvent()
        self._queue: ThrowableQueue[Batch]
        self._queue = ThrowableQueue(BATCHES_QUEUED, flow_control=self._flow, clear_on_resume=True)
        self._resuming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start its tasks, in its process."""
        for work in (
            *(self._belong, self._fetch, self._process, self._checkpoint, self._commit, self._seal),
        ):
            self._begin(work)

    async def stop(self) -> None:
        """Do what SIGTERM makes it do."""
        self._begin(self._stop)

    def _begin(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> asyncio.Task[None]:
        return asyncio.create_task(self._fatal(work, *arguments))

    async def _fatal(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Any error ends the process."""
        try:
            await work(*arguments)
        except (Fenced, OutOfPatience) as error:
            self._world.ended(type(error).__name__, expected=True)
        except Exception as error:
            self._world.ended(repr(error), expected=False)

    # -- The group

    async def _belong(self) -> None:
        while True:
            self._joins += 1
            await self._world.travel()
            joined = await self._group.join(self._member, static=self._is_static)
            await self._world.travel()
            self._consumer.assign(joined.sources)
            self._resuming = self._begin(self._resume, joined.generation)
            await self._hear_of_rebalance(joined.generation)
            self._consumer.begin_reassignment()
            await self._revoke()

    async def _hear_of_rebalance(self, generation: int) -> None:
        answer = "stable"
        while answer == "stable":
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._world.travel()
            answer = self._group.heartbeat(self._member, generation)
            await self._world.travel()
        self._heartbeats = self._begin(self._stay, generation)

    async def _stay(self, generation: int) -> None:
        """Heartbeats go on during the hand-over."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._world.travel()
            self._group.heartbeat(self._member, generation)

    async def _revoke(self) -> None:
        self._stop_flow()
        if self._resuming and not self._leaves_claims:
            self._resuming.cancel()
        self._flow.clear()
        await self._hand_over()
        self._heartbeats.cancel()

    async def _hand_over(self) -> None:
        try:
            await self.engine.hand_over(HAND_OVER_SECONDS)
        except (Fenced, OutOfPatience, TimeoutError) as error:
            self._world.note(f"{self.name}: last checkpoint not saved: {type(error).__name__}")

    async def _resume(self, generation: int) -> None:
        """What `seek_to_committed` does, and then let it flow."""
        joins, assignment = self._joins, self._consumer.assignment
        assert assignment is not None
        await self._world.travel()
        if not assignment.active:
            return
        logs = self._world.broker.logs
        number, positions = await self.engine.claim(dict.fromkeys(assignment.tps, 0), self._world.now_ms())
        for source, position in positions.items():
            assert position.next_offset <= logs[source].end, f"{source} ends before {position}"
        self._world.note(f"{self.name}: claim {number}")
        await asyncio.sleep(0)  # into the consumer's thread
        current = self._consumer.assignment
        self.reads.begin(current, assignment, number, positions, self._consumer.seek)
        await asyncio.sleep(0)
        if joins == self._joins and not self._consumer.reassigning:
            self._resume_flow()

    def _stop_flow(self) -> None:
        self._can_flow.clear()
        self._is_stopped.set()
        self._flow.suspend()

    def _resume_flow(self) -> None:
        self._flow.resume()
        self._can_flow.set()
        self._is_stopped.clear()

    async def _commit(self) -> None:
        """The group's committed offsets, for lag tools only; they may be those of a claim long gone."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            claim = self.engine.current
            saved = dict(claim.saved) if claim else {}
            await self._world.travel()
            self._group.committed.update(saved)

    # -- Batches

    async def _fetch(self) -> None:
        while True:
            await self._can_flow.wait()
            for batch in (await self._next_batches()).values():
                if not self._can_flow.is_set():
                    await self._can_flow.wait()
                if self.reads.is_current(batch):
                    await _first_of(self._deliver(batch), self._is_stopped.wait())
                else:
                    self.stale_batches += 1

    async def _next_batches(self) -> dict[SourcePartition, Batch]:
        """What the consumer's thread does for the fetch loop, and the way there and back."""
        await asyncio.sleep(0)
        if not self._can_flow.is_set():
            return {}
        try:
            fetched = await self._consumer.fetched(POLL_SECONDS)
        except OutOfRange:
            if self.reads.covers(self._consumer.assignment):
                raise
            return {}
        batches = self.reads.wrap(self._consumer.assignment, fetched)
        await asyncio.sleep(0)
        return batches

    async def _deliver(self, batch: Batch) -> None:
        await self._flow.acquire()
        if self._queue.full():
            await asyncio.wait([asyncio.create_task(self._queue.put(batch))])
        else:
            self._queue.put_nowait_enhanced(batch, on_pressure_high=_nothing, on_pressure_drop=_nothing)

    async def _process(self) -> None:
        while True:
            batch = await self._queue.get()
            if self._flow.is_active():  # Faust's stream skips what it gets at another time
                await self.engine.process(batch)

    # -- Checkpoints

    async def _checkpoint(self) -> None:
        while True:
            self._follow_fetches()
            saving = asyncio.Event()
            self._begin(self.engine.checkpoint, saving.set)
            await saving.wait()
            await asyncio.sleep(self._interval_seconds)

    async def _seal(self) -> None:
        while True:
            await asyncio.sleep(SEAL_PAUSE_SECONDS)
            await self.engine.seal(SEAL_SECONDS)

    def _follow_fetches(self) -> None:
        claim, now_ms = self.engine.current, self._world.now_ms()
        for source, state in self.reads.fetch_states().items():
            if claim and source in claim.cursors:
                claim.cursors[source].follow(state.position, state.log_end, state.fetched_ms, now_ms)

    async def _stop(self) -> None:
        self._stop_flow()
        await self._hand_over()
        await self._world.travel()
        if not self._is_static:
            self._group.leave(self._member)
        self._world.ended("stopped", expected=True)


async def _first_of(*works: Coroutine[Any, Any, Any]) -> None:
    """Wait for one of them and cancel the others."""
    tasks = [asyncio.create_task(work) for work in works]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task in pending:
            task.cancel()


def _nothing() -> None:
    pass
