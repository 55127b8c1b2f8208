"""Faust's Kafka transport with one change: what it hands over is a record batch, not a record.

A stock Faust agent spends four asyncio tasks on each event. Here one fetch of one partition becomes one
ordinary Faust message whose value is a `Batch`, so that membership, co-partitioned assignment, rebalances,
flow control and lifecycle stay Faust's and cost nothing. What is overridden, and why:

- `_fetch_records` (consumer thread): wraps what a fetch brought; discards what the claim in force does not
  cover (`reads.py` decides);
- `seek_to_committed` (the last act before records flow): claims the partitions in the ledger, then seeks
  there;
- `_create_worker_consumer`: aiokafka's options that Faust has no setting for;
- `getmany`: never drops a batch; waits while the flow is stopped, and leaves stale batches to their claim
  number;
- acknowledgements, gaps, full buffers: none of Faust's book-keeping; Kafka's committed offsets are for lag
  tools only;
- `wait_empty` (revocation and stop): the last checkpoint, within a limit.

The private names used here are why the three libraries are pinned to the version.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, NoReturn, Protocol, cast

import aiokafka
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import (
    AIOKafkaConsumerThread,
    Consumer,
    Transport,
    credentials_to_aiokafka_auth,
    server_list,
)
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from sinks.ledger import Position, SourcePartition, SourceTopic
from streams.batches import Batch
from streams.connections import tell_of_closed_transports
from streams.positions import WAY_ON
from streams.reads import ClaimedReads, FetchState
from streams.runs import hand_over_runs
from streams.topic_ids import ask_leaders

FETCH_MAX_WAIT_MS = 500


class PositionLost(Exception):
    """The ledger's position is not in Kafka's log: retention was too short, or the topic was made anew."""


class Owner(Protocol):
    """Who claims partitions and knows what was saved; the Faust app of this worker."""

    async def claim_partitions(
        self, log_starts: Mapping[SourcePartition, int]
    ) -> tuple[int, dict[SourcePartition, Position]] | None:
        """Own these partitions, given the first offset of their logs; return number and positions.

        None: they are not what is to be read; a rebalance will follow.
        """
        ...

    def check_positions(
        self,
        positions: Mapping[SourcePartition, Position],
        log_ranges: Mapping[SourcePartition, tuple[int, int]],
    ) -> None:
        """End the process if the ledger stands outside the logs, given the first and end offset of each."""
        ...

    def saved_offsets(self) -> dict[SourcePartition, int]:
        """The next offset of each owned partition, as saved."""
        ...

    async def hand_over(self) -> None:
        """Save a last time and give all partitions up; never raises."""
        ...

    def fail(self, error: Exception) -> NoReturn:
        """End the process."""
        ...


class BatchConsumerThread(AIOKafkaConsumerThread):
    """The thread in which aiokafka lives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reads = ClaimedReads()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = self.app.assignor
        hand_over_runs()
        tell_of_closed_transports()
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Claim the assigned partitions and seek to where the ledger says; {} if a rebalance comes first."""
        assignment, starts = await self.call_thread(self._log_starts)
        if not assignment.active:
            # The claim of who comes for the next assignment must not be followed by this one's.
            return {}
        claimed = await _owner(self.app).claim_partitions(starts)
        if claimed is None:
            return {}
        # Asked now that nobody else can move the ledger: who had these partitions may have saved until then.
        ends = await self.call_thread(self._log_ends, assignment)
        number, positions = claimed
        log_ranges = {source: (starts[source], ends[source]) for source in positions}
        _owner(self.app).check_positions(positions, log_ranges)
        found: Mapping[TP, int]
        found = await self.call_thread(self._seek_claimed, assignment, number, positions)
        return found

    async def _log_starts(self) -> tuple[Any, dict[SourcePartition, int]]:
        consumer = self._ensure_consumer()
        assignment = _assignment(consumer)
        found = await consumer.beginning_offsets(assignment.tps)
        return assignment, {SourcePartition(*tp): offset for tp, offset in found.items()}

    async def _log_ends(self, assignment: Any) -> dict[SourcePartition, int]:
        found = await self._ensure_consumer().end_offsets(assignment.tps)
        return {SourcePartition(*tp): offset for tp, offset in found.items()}

    async def _seek_claimed(
        self, assignment: Any, number: int, positions: Mapping[SourcePartition, Position]
    ) -> Mapping[TP, int]:
        # No await here: no fetch can run between the mark and the seeks.
        consumer = self._ensure_consumer()

        def seek(source: SourcePartition, offset: int) -> None:
            consumer.seek(aiokafka.TopicPartition(*source), offset)

        offsets = self._reads.begin(_assignment(consumer), assignment, number, positions, seek)
        return {TP(*source): offset for source, offset in offsets.items()}

    async def _fetch_records(  # type: ignore[override]  # batches in place of lists, all the way to the agent
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Batch]:
        try:
            fetched = await super()._fetch_records(
                consumer, active_partitions, timeout=timeout, max_records=max_records
            )
        except (NoOffsetForPartitionError, OffsetOutOfRangeError) as error:
            if not self._reads.covers(_assignment(consumer)):
                return {}  # about the group's own offsets, which are not what the claim will seek to
            raise PositionLost(
                f"the ledger's position is not in Kafka's log: {error!r}; `quarterhour positions` says more. "
                f"{WAY_ON}"
            ) from error
        batches = self._reads.wrap(_assignment(consumer), fetched)
        return {TP(*source): batch for source, batch in batches.items()}

    async def topics_by_leaders(self, names: Collection[str]) -> list[dict[str, SourceTopic]]:
        """These topics by the word of each broker that we read from; raises `Unreachable`."""
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self._topics_by_leaders(names), self.thread_loop)
        )

    async def _topics_by_leaders(self, names: Collection[str]) -> list[dict[str, SourceTopic]]:
        consumer = self._ensure_consumer()
        return await ask_leaders(consumer._client, names, consumer.assignment())

    def is_current(self, batch: Batch) -> bool:
        """Whether the batch was fetched under the claim in force. Callable from any thread."""
        return self._reads.is_current(batch)

    def fetch_states(self) -> dict[SourcePartition, FetchState]:
        """What the last fetch of each claimed partition said, of those fetched; callable from any thread."""
        return self._reads.fetch_states()

    def held_partitions(self) -> set[SourcePartition]:
        """Partitions of which the client holds records that nobody has taken; callable from any thread."""
        consumer = self._consumer
        return {SourcePartition(*tp) for tp in list(consumer._fetcher._records)} if consumer else set()

    def metadata_ms(self) -> float | None:
        """When Kafka last told about its topics, by the wall clock; callable from any thread."""
        consumer = self._consumer
        return consumer._client.cluster._last_successful_refresh_ms if consumer else None

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's own ideas of slow processing count events."""


class BatchConsumer(Consumer):
    """The consumer on Faust's side, in the main thread."""

    _thread: BatchConsumerThread

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def fetch_states(self) -> dict[SourcePartition, FetchState]:
        """See `BatchConsumerThread.fetch_states`."""
        return self._thread.fetch_states()

    def held_partitions(self) -> set[SourcePartition]:
        """See `BatchConsumerThread.held_partitions`."""
        return self._thread.held_partitions()

    def metadata_ms(self) -> float | None:
        """See `BatchConsumerThread.metadata_ms`."""
        return self._thread.metadata_ms()

    async def topics_by_leaders(self, names: Collection[str]) -> list[dict[str, SourceTopic]]:
        """See `BatchConsumerThread.topics_by_leaders`."""
        return await self._thread.topics_by_leaders(names)

    def partition_count(self, topic: str) -> int | None:
        """How many partitions the latest metadata says a topic has; None before there is any."""
        consumer = self._thread._consumer
        found = consumer and consumer._client.cluster.partitions_for_topic(topic)
        return len(found) if found else None

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield what one fetch brought; a rebalance delays it, and the claim number tells if it is stale."""
        try:
            batches, _ = await self._wait_next_records(timeout)
        except PositionLost as error:
            _owner(self.app).fail(error)
        if batches is None or self.should_stop:
            return
        for tp, batch in batches.items():
            if not self.flow_active:
                await self.wait(self.can_resume_flow.wait())
            if self._thread.is_current(cast(Batch, batch)):
                yield tp, self._to_message(tp, batch)

    def _to_message(self, tp: TP, batch: Any) -> ConsumerMessage:
        generation = self.app.consumer_generation_id
        return ConsumerMessage(
            *(tp.topic, tp.partition, batch.start, 0.0, 0, None, None, batch, None, 0, 0, tp),
            generation_id=generation,
        )

    def ack(self, message: Any) -> bool:
        """Nothing to remember: the ledger knows."""
        message.acked = True
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: offsets between messages are the records of a batch."""

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: a full queue holds the fetch loop up by itself, without Faust's one second naps."""

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        return {TP(*source): offset for source, offset in _owner(self.app).saved_offsets().items()}

    async def wait_empty(self) -> None:
        """Save a last time and give the partitions up."""
        await _owner(self.app).hand_over()


class BatchTransport(Transport):
    """Kafka, by the batch."""

    Consumer = BatchConsumer


def _assignment(consumer: Any) -> Any:
    """The assignment that a consumer has now: None before the first, and maybe ended by a rebalance."""
    return consumer._subscription.subscription.assignment


def _owner(app: Any) -> Owner:
    owner: Owner = app.owner
    return owner
