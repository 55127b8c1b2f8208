"""What a worker tells of itself: totals for its summary, metrics for Prometheus. It decides nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from streams.engine import Engine, Saved
from streams.health import Code, Health
from streams.metrics import Metrics


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

    def measure(self, engine: Engine, health: Health) -> None:
        """Bring the gauges up to date: they speak of what is owned now."""
        metrics, claim = self.metrics, engine.current
        metrics.stale_batches.set(engine.stale_batches)
        metrics.conversations.set(sum(map(len, claim.conversations.values())) if claim else 0)
        metrics.unsaved.set(claim.unsaved_records if claim else 0)
        metrics.watermark_delay.clear()
        for shard, watermark in engine.watermarks_ms().items():
            metrics.watermark_delay.labels(shard).set(time.time() - watermark / 1000)
        self._measure_health(health)
        self._measure_progress(health)

    def _measure_health(self, health: Health) -> None:
        reasons = health.not_ready()
        self.metrics.ready.set(not reasons)
        self.metrics.healthy.set(health.unhealthy() is None)
        for code in Code:
            self.metrics.not_ready.labels(code).set(any(reason.code is code for reason in reasons))
        self.metrics.checkpoint_age.set(health.seconds_without_checkpoint())

    def _measure_progress(self, health: Health) -> None:
        metrics = self.metrics
        for gauge in (metrics.lag, metrics.blocked, metrics.no_progress):
            gauge.clear()
        for source, progress in health.seen.progress.items():
            metrics.lag.labels(*source).set(max(0, progress.readable_end - progress.saved))
            metrics.blocked.labels(*source).set(progress.log_end - progress.readable_end)
            metrics.no_progress.labels(*source).set(health.seconds_without_progress(source))
