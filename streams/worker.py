"""One stream worker: the Faust app around an `Engine`, its checkpoints, pages, and every way it ends.

Faust holds the group membership and delivers batches; everything that decides about money is the engine's.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, cast

import faust
from faust.web import Request, Response, View
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sinks.ledger import Fenced, Position, SourcePartition, SourceTopic
from sinks.postgres import PostgresLedger
from streams.conversations import CorruptFacts
from streams.cursor import BrokenChain
from streams.dead_letter_limit import TooManyDeadLetters
from streams.engine import Engine, OutOfPatience, Plan, UnfitAssignment
from streams.exits import Exit, leave
from streams.positions import why_refused
from streams.sources import WrongTopics, check_answers
from streams.telemetry import Telemetry
from streams.transport import BatchConsumer, BatchTransport, PositionLost
from streams.watchdog import Watchdog, limit_stop

log = logging.getLogger(__name__)

HAND_OVER_SECONDS = 3.0
BATCHES_QUEUED = 16
# A spare worker fetches nothing for as long as it has no partition, and must stay in the group all the same.
MAX_POLL_INTERVAL_SECONDS = 30 * 86_400
# How often the watchdog hears that the event loop runs.
TICK_SECONDS = 1.0
# A fetch without news is answered within half a second.
FETCH_ANSWERED_MS = 2_000
# Without a claim there are no fetches: joining the group may take two such times (rebalance, dead members).
JOIN_MS = 60_000
# So many intervals without a checkpoint make a worker not ready.
OVERDUE_CHECKPOINTS = 5

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


@dataclass(frozen=True, slots=True)
class Membership:
    """How a worker joins its group and where it serves its pages."""

    group: str
    brokers: str
    credentials: Any
    instance_id: str | None
    session_timeout_ms: int
    checkpoint_interval_ms: int
    web_bind: str
    web_port: int


class StreamWorker:
    """One worker process's stream: run it once."""

    def __init__(
        self,
        ledger: PostgresLedger,
        plan: Plan,
        membership: Membership,
        found: Mapping[str, SourceTopic],
        drain_to: Mapping[SourcePartition, int] | None,
    ) -> None:
        self.telemetry = Telemetry()
        self._ledger = ledger
        self._plan = plan
        self._membership = membership
        self._found = found
        self._drain_to = drain_to
        self._engine = Engine(ledger, plan, self.telemetry.saved, self._confirm_topics)
        self._watchdog = Watchdog()
        # Faust wants a folder of its own; nothing of ours is in it.
        self._folder = TemporaryDirectory(prefix="quarterhour-worker-")
        self._checkpointed_at = time.monotonic()
        self._answered_at = time.monotonic()
        self._checkpoints: asyncio.Task[None] | None = None
        self._ticks: asyncio.Task[None] | None = None
        self._stopping = False
        self._app = self._new_app()

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or, with `drain_to`, all of that is saved. Any error ends the process."""
        _tune_interpreter()
        loop = asyncio.get_event_loop()
        worker = _Worker(self._app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
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
        self, log_ranges: Mapping[SourcePartition, tuple[int, int]]
    ) -> tuple[int, dict[SourcePartition, Position]]:
        """Claim these partitions and check that the ledger's positions are within their logs."""
        with _Fatal():
            earliest = {source: first for source, (first, _) in log_ranges.items()}
            number, positions = await self._engine.claim(earliest)
            self.telemetry.totals.claims += 1
            for source, position in positions.items():
                if trouble := why_refused(source, position.next_offset, log_ranges[source]):
                    raise PositionLost(trouble)
        self._answered_at = time.monotonic()
        claim = self._engine.current
        log.info("claim %d: %d partitions, owner %s", number, len(positions), claim and claim.owner)
        return number, positions

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

    def end_tasks(self) -> None:
        """Save no more: the last checkpoint was that of the hand-over."""
        for task in (self._checkpoints, self._ticks):
            if task:
                task.cancel()

    def fail(self, error: Exception) -> NoReturn:
        """End the process."""
        _end(error)

    # -- The Faust app

    def _new_app(self) -> faust.App:
        membership = self._membership
        session_seconds = membership.session_timeout_ms / 1000
        # Faust gives a claim no longer than its request timeout, and a claim may have to be patient.
        request_seconds = max(session_seconds, self._plan.patience_ms / 1000) + 30
        app = _StreamApp(
            membership.group,
            broker=";".join(f"kafka://{broker}" for broker in membership.brokers.split(",")),
            broker_credentials=membership.credentials,
            broker_session_timeout=session_seconds,
            broker_heartbeat_interval=min(1.0, session_seconds / 3),
            broker_rebalance_timeout=30.0,
            broker_request_timeout=request_seconds,
            broker_max_poll_interval=MAX_POLL_INTERVAL_SECONDS,
            broker_commit_interval=2.0,
            consumer_group_instance_id=membership.instance_id,
            stream_buffer_maxsize=BATCHES_QUEUED,
            table_standby_replicas=1,
            topic_disable_leader=True,
            topic_allow_declare=False,
            datadir=self._folder.name,
            web_bind=membership.web_bind,
            web_host=membership.web_bind,
            web_port=membership.web_port,
        )
        app.owner = self
        app.transport = BatchTransport(app.conf.broker_consumer, app)
        self._add_agent(app)
        self._add_pages(app)
        app.task(self._start)
        return app

    def _add_agent(self, app: faust.App) -> None:
        topic = app.topic(
            *self._plan.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

        @app.agent(topic, name="sessionize")
        async def sessionize(batches: Any) -> None:
            async for batch in batches:
                self.telemetry.totals.begin()
                with _Fatal():
                    await self._engine.process(batch)

    def _add_pages(self, app: faust.App) -> None:
        @app.page("/metrics", name="metrics")
        async def metrics(view: View, request: Request) -> Response:
            ready = not self._not_ready()
            self.telemetry.measure(self._engine, self._consumer.fetch_states(), ready=ready)
            text = generate_latest(self.telemetry.metrics.registry)
            return view.bytes(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

        @app.page("/healthz", name="healthz")
        async def healthz(view: View, request: Request) -> Response:
            return view.json({"healthy": True})

        @app.page("/readyz", name="readyz")
        async def readyz(view: View, request: Request) -> Response:
            reasons = self._not_ready()
            return view.json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    @property
    def _consumer(self) -> BatchConsumer:
        return cast(BatchConsumer, self._app.consumer)

    # -- Running

    async def _start(self) -> None:
        self._watchdog.start()
        self._ticks = asyncio.create_task(self._tick_for_ever(), name="watchdog ticks")
        self._checkpoints = asyncio.create_task(self._checkpoint_for_ever(), name="checkpoints")

    async def _checkpoint_for_ever(self) -> None:
        interval = self._membership.checkpoint_interval_ms / 1000
        while True:
            with _Fatal():
                await self._checkpoint()
            # From the end of one: a busy ledger is asked less often, and each bill is computed less often.
            await asyncio.sleep(interval)

    async def _tick_for_ever(self) -> None:
        """Beside the checkpoints: one may wait for PostgreSQL for longer than the watchdog would."""
        while True:
            self._watchdog.tick()
            await asyncio.sleep(TICK_SECONDS)

    async def _checkpoint(self) -> None:
        self._check_partition_counts()
        self._follow_fetches()
        claimed = self._engine.current is not None
        await self._engine.checkpoint()
        if claimed:
            self._checkpointed_at = time.monotonic()
        if self._drain_to is not None and not self._stopping and await self._is_drained(self._drain_to):
            self._stopping = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _follow_fetches(self) -> None:
        """Move the clocks of partitions read to their end, and see that Kafka still answers."""
        claim, now_ms = self._engine.current, time.time_ns() // 1_000_000
        states = self._consumer.fetch_states()
        fetched = any(now_ms - state.fetched_ms < FETCH_ANSWERED_MS for state in states.values())
        if fetched or self._engine.waiting_for or self._app.unassigned:
            self._answered_at = time.monotonic()
        silent_ms = (time.monotonic() - self._answered_at) * 1000
        if silent_ms > self._plan.patience_ms + (0 if claim else JOIN_MS):
            raise OutOfPatience(f"Kafka has answered no fetch for {silent_ms / 1000:.0f} s")
        for source, state in states.items():
            if claim and source in claim.cursors:
                claim.cursors[source].follow(state.position, state.high_water, state.fetched_ms, now_ms)

    def _check_partition_counts(self) -> None:
        for topic, count in self._plan.partitions.items():
            found = self._consumer.partition_count(topic)
            if found is not None and found != count:
                leave(
                    Exit.REFUSED,
                    f"topic {topic} has {found} partitions now and had {count}: its keys have moved",
                )

    async def _confirm_topics(self) -> None:
        """What was read is of the topics that the ledger knows: one made anew is read at old offsets."""
        check_answers(await self._consumer.topics_by_leaders(list(self._found)), self._found)

    async def _is_drained(self, targets: Mapping[SourcePartition, int]) -> bool:
        saved = self.saved_offsets()
        if any(saved.get(source, target) < target for source, target in targets.items()):
            return False
        others = [source for source in targets if source not in saved]
        if others:
            positions = await self._ledger.positions(list(self._plan.topics))
            return all(
                source in positions and positions[source].next_offset >= targets[source] for source in others
            )
        return True

    # -- Health

    def _not_ready(self) -> list[str]:
        reasons = []
        if self._engine.current is None and not self._app.unassigned:
            reasons.append("no partitions are claimed")
        if self._engine.waiting_for:
            reasons.append(f"waiting for {self._engine.waiting_for}")
        overdue = time.monotonic() - self._checkpointed_at
        if overdue * 1000 > OVERDUE_CHECKPOINTS * self._membership.checkpoint_interval_ms:
            reasons.append(f"no checkpoint for {overdue:.0f} s")
        silent = time.monotonic() - self._answered_at
        if silent * 1000 > OVERDUE_CHECKPOINTS * 1000:
            reasons.append(f"Kafka has answered no fetch for {silent:.0f} s")
        return reasons


class _Fatal:
    """Any error that leaves this block ends the process: Faust's supervisors would swallow it and go on."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            _end(error)


def _end(error: Exception) -> NoReturn:
    code = _EXITS.get(type(error))
    if code is None:
        log.error("unexpected error", exc_info=error)
    leave(code or Exit.BUG, str(error) if code else f"{type(error).__name__}: {error}")


class _StreamApp(faust.App):
    """Faust's app, with a limit on how long it may take to stop."""

    owner: StreamWorker

    async def on_stop(self) -> None:
        limit_stop()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        self.owner.end_tasks()


class _Worker(faust.Worker):
    """Faust's process, without the second of sleep at its end."""

    async def _sentinel_task(self) -> None:
        pass


def _tune_interpreter() -> None:
    # The state kept is large and long-lived; walking it again and again costs a third of a worker's speed.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    # Two threads share one core: the consumer can wait that long, and each change of hands costs (about 4 %).
    sys.setswitchinterval(0.05)
