"""One stream worker: an `Engine` in its Faust app, its checkpoints, its health, and every way it ends.

Faust holds the group membership and delivers batches; everything that decides about money is the engine's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

import faust

from schemas.outcomes import Outcome
from sinks.ledger import Fenced, Position, SourcePartition, SourceTopic, Unreachable
from sinks.postgres import PostgresLedger
from streams.app import Membership, Process, new_app
from streams.conversations import CorruptFacts
from streams.cursor import BrokenChain
from streams.dead_letter_limit import TooManyDeadLetters
from streams.engine import Engine, OutOfPatience, Plan, Saved, UnfitAssignment
from streams.exits import Exit, leave
from streams.health import Health, Limits
from streams.interpreter import give_back_memory, tune_interpreter
from streams.metrics import Metrics
from streams.observing import Observer
from streams.pages import add_pages
from streams.positions import why_refused
from streams.rejecting import RejectedEvents
from streams.sources import WrongTopics, check_answers
from streams.telemetry import Telemetry
from streams.transport import BatchConsumer, PositionLost
from streams.watchdog import Watchdog

log = logging.getLogger(__name__)

HAND_OVER_SECONDS = 3.0
# Of the time that a checkpoint took, when that is long against the interval.
PAUSE_SHARE = 0.25
# A worker that is behind rests for so many intervals: nobody sees anything sooner for more checkpoints, and
# the fewer there are, the more facts of a conversation share a write.
BEHIND_INTERVALS = 4
GIVE_BACK_SECONDS = 5.0
# Sealing, which nobody waits for: so long, so often and, while there is more, so large a share of the time.
SEAL_SECONDS = 0.2
SEAL_PAUSE_SECONDS = 5.0
SEAL_SHARE = 0.1
# So often a worker looks at itself, and its watchdog hears that the event loop runs.
LOOK_SECONDS = 0.25

_NOWHERE = Position(0, 0)

_EXITS: dict[type[BaseException], Exit] = {
    Fenced: Exit.FENCED,
    OutOfPatience: Exit.OUT_OF_PATIENCE,
    TooManyDeadLetters: Exit.DEAD_LETTERS,
    PositionLost: Exit.REFUSED,
    WrongTopics: Exit.REFUSED,
    UnfitAssignment: Exit.BUG,
    BrokenChain: Exit.BUG,
    CorruptFacts: Exit.BUG,
}


@dataclass(frozen=True)
class DrainTarget:
    """What a worker that is to end by itself must have saved: all that was published at a moment."""

    at_ms: int
    """The moment, in ms since 1970 UTC."""
    ends: Mapping[SourcePartition, int]
    """Where the log of each partition ended then."""

    def is_reached(self, positions: Mapping[SourcePartition, Position]) -> bool:
        """Whether these positions are past it, so that all that was over by then has settled.

        A partition with nothing new has followed the wall clock to that moment; one with something new
        follows its events.
        """
        for source, end in self.ends.items():
            position = positions.get(source, _NOWHERE)
            if position.next_offset < end or (position.next_offset == end and position.clock_ms < self.at_ms):
                return False
        return True


class StreamWorker:
    """One worker process's stream: run it once."""

    def __init__(
        self,
        ledger: PostgresLedger,
        plan: Plan,
        membership: Membership,
        found: Mapping[str, SourceTopic],
        drain_to: DrainTarget | None,
        rejected: RejectedEvents,
    ) -> None:
        self.telemetry = Telemetry()
        self._rejected = rejected
        self._ledger = ledger
        self._plan = plan
        self._membership = membership
        self._found = found
        self._drain_to = drain_to
        self._engine = Engine(ledger, plan, self._saved, self._confirm_topics)
        self._watchdog = Watchdog()
        # Faust wants a folder of its own; nothing of ours is in it.
        self._folder = TemporaryDirectory(prefix="quarterhour-worker-")
        limits = Limits(plan.patience_ms / 1000, membership.checkpoint_interval_ms / 1000)
        self._health = Health(limits, plan.topics, plan.partitions)
        self._observer = Observer(self._engine, self.telemetry.totals, list(plan.topics))
        self._checkpoints: asyncio.Task[None] | None = None
        self._saves: set[asyncio.Task[None]] = set()
        self._seals: asyncio.Task[None] | None = None
        self._looks: asyncio.Task[None] | None = None
        self._tellings: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._app = new_app(membership, plan.patience_ms, self._folder.name, self)
        self._add_agent(self._app)
        add_pages(self._app, self._look, self._measure)
        self._app.task(self._start)

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or, with `drain_to`, all of that is saved. Any error ends the process."""
        tune_interpreter()
        loop = asyncio.get_event_loop()
        worker = Process(self._app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
        worker.spinner = None  # its control codes would stand in our output
        try:
            worker.execute_from_commandline()
        except SystemExit as ended:
            if ended.code:
                leave(Exit.BUG, f"ended with status {ended.code}")
        finally:
            self._watchdog.stop()
            self._folder.cleanup()

    # -- What the transport asks (streams.transport.Owner)

    async def claim_partitions(
        self, log_starts: Mapping[SourcePartition, int]
    ) -> tuple[int, dict[SourcePartition, Position]] | None:
        """Claim these partitions.

        None while a topic is missing in Kafka: what is assigned then is not all that belongs together.
        """
        with self._fatal():
            _check_numbers(log_starts, self._plan.partitions)
            if missing := self._look().missing_topics:
                log.warning("nothing claimed: missing in Kafka: %s", ", ".join(missing))
                return None
            number, positions = await self._engine.claim(log_starts, _now_ms())
        self.telemetry.totals.claims += 1
        claim = self._engine.current
        self._rejected.wake()  # what the owner before did not come to
        log.info("claim %d: %d partitions, owner %s", number, len(positions), claim and claim.owner)
        return number, positions

    def check_positions(
        self,
        positions: Mapping[SourcePartition, Position],
        log_ranges: Mapping[SourcePartition, tuple[int, int]],
    ) -> None:
        """End the process if the ledger stands outside Kafka's logs."""
        self._observer.log_ends = {source: end for source, (_, end) in log_ranges.items()}
        for source, position in positions.items():
            if trouble := why_refused(source, position.next_offset, log_ranges[source]):
                self.fail(PositionLost(trouble))

    def saved_offsets(self) -> dict[SourcePartition, int]:
        """The next offset of each owned partition, as saved."""
        claim = self._engine.current
        return dict(claim.saved) if claim else {}

    async def hand_over(self) -> None:
        """Save a last time within a limit; what is not saved will be read again."""
        try:
            await self._engine.hand_over(HAND_OVER_SECONDS)
        except Exception as error:
            log.warning("last checkpoint not saved, its records will be read again: %r", error)

    def end_looks(self) -> None:
        """Judge health no more: a worker that is stopping reads nothing and claims nothing."""
        self._is_stopping = True
        if self._looks:
            self._looks.cancel()

    def end_checkpoints(self) -> None:
        """Save no more: the last checkpoint was that of the hand-over."""
        for task in (self._checkpoints, self._seals, self._tellings, *self._saves):
            if task:
                task.cancel()

    def fail(self, error: Exception) -> NoReturn:
        """End the process."""
        missing = self._health.refuse_missing() if isinstance(error, OutOfPatience) else None
        if missing:
            leave(*missing)
        code = _EXITS.get(type(error))
        if code is None:
            log.error("unexpected error", exc_info=error)
        leave(code or Exit.BUG, str(error) if code else f"{type(error).__name__}: {error}")

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Any error that leaves this block ends the process: Faust's supervisors would swallow it."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    # -- The Faust app

    def _add_agent(self, app: faust.App) -> None:
        topic = app.topic(
            *self._plan.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        @app.agent(topic, name="sessionize")
        async def sessionize(batches: Any) -> None:
            async for batch in batches:
                self.telemetry.totals.begin()
                with self._fatal():
                    await self._engine.process(batch)

    @property
    def _consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self._app.consumer)

    # -- Running

    async def _start(self) -> None:
        self._watchdog.start()
        self._checkpoints = asyncio.create_task(self._checkpoint_for_ever(), name="checkpoints")
        self._seals = asyncio.create_task(self._seal_for_ever(), name="seals")
        self._looks = asyncio.create_task(self._look_for_ever(), name="looks")
        self._tellings = asyncio.create_task(self._rejected.run(self.saved_offsets), name="rejected events")

    async def _checkpoint_for_ever(self) -> None:
        interval = self._membership.checkpoint_interval_ms / 1000
        give_back_at = 0.0
        while True:
            started, saving = time.monotonic(), asyncio.Event()
            checkpoint = asyncio.create_task(self._checkpoint(saving.set), name="checkpoint")
            self._saves.add(checkpoint)
            checkpoint.add_done_callback(self._saves.discard)
            await saving.wait()  # and let the next one be taken meanwhile
            took = time.monotonic() - started
            if started >= give_back_at:
                give_back_memory()
                give_back_at = started + GIVE_BACK_SECONDS
            # A slow ledger is asked less often, and each bill is then computed less often.
            await asyncio.sleep(max(interval - took, took * PAUSE_SHARE))
            for _ in range(BEHIND_INTERVALS - 1):
                if not self._engine.is_behind(self._readable_ends()):
                    break
                await asyncio.sleep(interval)

    async def _checkpoint(self, on_saving: Callable[[], None]) -> None:
        with self._fatal():
            self._follow_fetches()
            try:
                await self._engine.checkpoint(on_saving)
            except OutOfPatience as error:
                if not self._is_stopping:
                    raise
                log.warning("a checkpoint not saved, its records will be read again: %r", error)
            if self._drain_to is None or self._is_stopping:
                return
            if await self._is_drained(self._drain_to):
                self._is_stopping = True
                await self._rejected.publish(self.saved_offsets())
                os.kill(os.getpid(), signal.SIGTERM)

    async def _seal_for_ever(self) -> None:
        pause = SEAL_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            started = time.monotonic()
            with self._fatal():
                sealed = await self._engine.seal(SEAL_SECONDS)
            took = time.monotonic() - started
            pause = took / SEAL_SHARE if took > SEAL_SECONDS else SEAL_PAUSE_SECONDS
            self.telemetry.metrics.sealed.inc(sealed)

    def _saved(self, saved: Saved) -> None:
        self.telemetry.saved(saved)
        if any(key.outcome == Outcome.DEAD_LETTER for key in saved.outcomes):
            self._rejected.wake()

    def _follow_fetches(self) -> None:
        """Move the clocks of partitions read to their end."""
        claim, now_ms = self._engine.current, _now_ms()
        for source, state in self._consumer.fetch_states().items():
            if claim and source in claim.cursors:
                claim.cursors[source].follow(state.position, state.log_end, state.fetched_ms, now_ms)

    def _readable_ends(self) -> dict[SourcePartition, int]:
        return {source: state.high_water for source, state in self._consumer.fetch_states().items()}

    async def _confirm_topics(self) -> None:
        """What was read is of the topics that the ledger knows: one made anew is read at old offsets."""
        check_answers(await self._consumer.topics_by_leaders(list(self._found)), self._found)

    async def _is_drained(self, target: DrainTarget) -> bool:
        saved = self.saved_offsets()
        if any(saved.get(source, end) < end for source, end in target.ends.items()):
            return False
        try:
            return target.is_reached(await self._ledger.positions(list(self._plan.topics)))
        except Unreachable:
            return False  # asked again after the next checkpoint, which has patience

    # -- Health

    async def _look_for_ever(self) -> None:
        """Beside the checkpoints: one may wait for PostgreSQL for longer than the watchdog would, or hang."""
        while True:
            self._watchdog.tick()
            with self._fatal():
                end = self._look().must_end()
            if end:
                leave(*end)
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> Health:
        seen = self._observer.look(self._consumer, spare=self._app.unassigned)
        self._health.observe(seen, time.monotonic())
        return self._health

    def _measure(self) -> Metrics:
        self.telemetry.measure(self._engine, self._look())
        self.telemetry.metrics.rejected_failing.set(self._rejected.seconds_failing())
        return self.telemetry.metrics


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _check_numbers(sources: Collection[SourcePartition], counts: Mapping[str, int]) -> None:
    """Refuse partitions that were added: who assigned them may have heard of them before this worker."""
    for topic, number in sources:
        if number >= counts[topic]:
            raise WrongTopics(
                f"topic {topic} has more partitions now than {counts[topic]}: its keys have moved"
            )
