"""One look at a running worker: what `Health` judges, gathered from the engine and Kafka's client."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sinks.ledger import SourcePartition
from streams.conditions import Progress, Seen
from streams.engine import Claim, Engine
from streams.reads import FetchState
from streams.telemetry import Totals
from streams.transport import BatchConsumer


class Observer:
    """Looks at one worker."""

    def __init__(self, engine: Engine, totals: Totals, topics: Collection[str]) -> None:
        self._engine = engine
        self._totals = totals
        self._topics = topics
        self.log_ends: Mapping[SourcePartition, int] = {}
        """Where the logs ended when they were claimed: all that is known before a first fetch."""

    def look(self, consumer: BatchConsumer, *, spare: bool) -> Seen:
        """What can be seen now."""
        engine, claim = self._engine, self._engine.current
        return Seen(
            claim=claim.number if claim else None,
            spare=spare,
            waiting_for=engine.waiting_for,
            calling=engine.calls > 0,
            checkpoints=self._totals.checkpoints,
            counts={topic: consumer.partition_count(topic) for topic in self._topics},
            metadata_ms=consumer.metadata_ms(),
            progress=self._progress(claim, consumer) if claim else {},
        )

    def _progress(self, claim: Claim, consumer: BatchConsumer) -> dict[SourcePartition, Progress]:
        states, held = consumer.fetch_states(), consumer.held_partitions()
        return {
            source: self._one(claim, source, states.get(source), held=source in held)
            for source in claim.cursors
        }

    def _one(
        self, claim: Claim, source: SourcePartition, state: FetchState | None, *, held: bool
    ) -> Progress:
        merged, log_end = claim.cursors[source].next_offset, self.log_ends.get(source, 0)
        if state is None:
            return Progress(claim.saved[source], merged, merged, log_end, log_end, None, held)
        ends = state.high_water, state.log_end
        return Progress(claim.saved[source], merged, state.position, *ends, state.fetched_ms, held)
