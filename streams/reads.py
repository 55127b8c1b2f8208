"""What a worker may read under its claim: the mark and the seeks, batches out of fetches, what is stale.

Knows neither Faust nor aiokafka, only what it needs of them, so that it can be simulated. Records fetched
before the claim can arrive in three ways; all are closed by binding the claim to the identity of aiokafka's
assignment object, which is new after every rebalance, and by marking and seeking in one step.

`begin`, `covers` and `wrap` are for the consumer's thread only: there no fetch can run between a mark and its
seeks. `is_current` and `fetch_states` may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from sinks.ledger import Position, SourcePartition
from streams.batches import Batch, Record


class FetchState(NamedTuple):
    """What the last fetch of a partition said."""

    position: int
    high_water: int
    """How far it can be read: to the last stable offset."""
    fetched_ms: int
    log_end: int


class PartitionState(Protocol):
    """Where aiokafka is in one partition of an assignment."""

    highwater: int | None
    lso: int | None
    timestamp: int | None

    @property
    def has_valid_position(self) -> bool:
        """Whether there is a position yet."""
        ...

    @property
    def position(self) -> int:
        """The next offset that it will hand over."""
        ...


class Assignment(Protocol):
    """aiokafka's assignment: a new object after every rebalance."""

    @property
    def tps(self) -> Collection[tuple[str, int]]:
        """The partitions."""
        ...

    @property
    def active(self) -> bool:
        """Whether no rebalance has ended it."""
        ...

    def state_value(self, tp: Any) -> PartitionState:
        """The state of one of them."""
        ...


class ClaimedReads:
    """What may be read: the partitions of the assignment that the claim in force is for."""

    def __init__(self) -> None:
        self._assignment: Assignment | None = None
        self._claim_number = 0
        self._read_to: dict[SourcePartition, int] = {}

    def begin(
        self,
        current: Assignment | None,
        assignment: Assignment,
        number: int,
        positions: Mapping[SourcePartition, Position],
        seek: Callable[[SourcePartition, int], None],
    ) -> dict[SourcePartition, int]:
        """Read this assignment under this claim from now on, from where the ledger says; return from where.

        Nothing, if a rebalance came between: `current` is the assignment that the consumer has now.
        """
        if current is not assignment or not assignment.active:
            return {}
        self._assignment, self._claim_number = assignment, number
        self._read_to = {source: position.next_offset for source, position in positions.items()}
        for source, offset in self._read_to.items():
            seek(source, offset)
        return dict(self._read_to)

    def covers(self, current: Assignment | None) -> bool:
        """Whether the claim in force is for the assignment that the consumer has now."""
        return current is not None and current is self._assignment

    def wrap(
        self, current: Assignment | None, fetched: Mapping[Any, Sequence[Sequence[Record]]]
    ) -> dict[SourcePartition, Batch]:
        """Batches from where each partition was read to; also where its position moved over gaps only.

        `fetched` is what the consumer has just handed over, all of it discarded unless the claim covers it.
        """
        if current is None or not self.covers(current):
            return {}
        batches = {}
        for tp in current.tps:
            source, state = SourcePartition(*tp), current.state_value(tp)
            start = self._read_to[source]
            if state.has_valid_position and state.position != start:
                end = self._read_to[source] = state.position
                records = list(chain.from_iterable(fetched.get(tp, ())))
                batches[source] = Batch(source, start, end, records, self._claim_number)
        return batches

    def is_current(self, batch: Batch) -> bool:
        """Whether the batch was fetched under the claim in force."""
        return batch.claim == self._claim_number

    def fetch_states(self) -> dict[SourcePartition, FetchState]:
        """What the last fetch of each claimed partition said, of those fetched."""
        assignment, states = self._assignment, {}
        if assignment is None:
            return {}
        for tp in assignment.tps:
            state = assignment.state_value(tp)
            if state.timestamp is not None and state.highwater is not None and state.has_valid_position:
                # Under read_committed nothing is handed over past the last stable offset.
                end = state.highwater if state.lso is None else min(state.highwater, state.lso)
                states[SourcePartition(*tp)] = FetchState(
                    state.position, end, state.timestamp, state.highwater
                )
        return states
