"""What a worker tells of itself: totals for its summary, metrics for Prometheus. It decides nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from sinks.ledger import SourcePartition
from streams.engine import Engine, Saved
from streams.metrics import Metrics
from streams.reads import FetchState


@dataclass(slots=True)
class Totals:
    """What a worker has saved since its start, for its summary.

    It began when the first record was at hand and saved the last one when it was committed (monotonic
    seconds).
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    corrections: int = 0
    checkpoints: int = 0
    claims: int = 0
    began_at: float = 0.0
    saved_at: float = 0.0

    def begin(self) -> None:
        """Note that records are at hand; the first time counts."""
        self.began_at = self.began_at or time.monotonic()

    def add(self, saved: Saved) -> None:
        """Count one checkpoint."""
        self.checkpoints += 1
        if saved.outcomes:
            self.saved_at = time.monotonic()
        for key, count in saved.outcomes.items():
            self.outcomes[key.outcome] = self.outcomes.get(key.outcome, 0) + count
            if key.reason:
                self.dead_letters[key.reason] = self.dead_letters.get(key.reason, 0) + count
        for change, count in saved.changes.items():
            name = f"{change.kind} {change.status}"
            self.records[name] = self.records.get(name, 0) + count
            self.corrections += change.corrected * count


class Telemetry:
    """The totals and metrics of one worker."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.metrics = Metrics()

    def saved(self, saved: Saved) -> None:
        """Tell of one checkpoint that has committed."""
        self.totals.add(saved)
        self.metrics.checkpoint_seconds.observe(saved.seconds)
        for key, count in saved.outcomes.items():
            self.metrics.events.labels(key.source.topic, key.outcome, key.reason).inc(count)
        for change, count in saved.changes.items():
            self.metrics.records.labels(change.kind, change.status).inc(count)
            if change.corrected:
                self.metrics.corrections.labels(change.kind).inc(count)

    def measure(self, engine: Engine, states: Mapping[SourcePartition, FetchState], *, ready: bool) -> None:
        """Bring the gauges up to date: they speak of what is owned now."""
        metrics, claim = self.metrics, engine.current
        metrics.ready.set(ready)
        metrics.stale_batches.set(engine.stale_batches)
        metrics.lag.clear()
        metrics.watermark_delay.clear()
        metrics.conversations.set(sum(map(len, claim.conversations.values())) if claim else 0)
        for source, state in states.items():
            if claim and source in claim.saved:
                metrics.lag.labels(*source).set(max(0, state.high_water - claim.saved[source]))
        for shard, watermark in engine.watermarks_ms().items():
            metrics.watermark_delay.labels(shard).set(time.time() - watermark / 1000)
