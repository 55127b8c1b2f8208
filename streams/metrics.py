"""Every metric of a worker, declared once: name, kind, meaning and labels.

Figures are of what was saved, not of what was tried.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_CHECKPOINT_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.events = Counter(
            "quarterhour_events",
            "Records read and saved, by outcome; reason is a dead letter's code, else empty.",
            ["topic", "outcome", "reason"],
            registry=registry,
        )
        self.records = Counter(
            "quarterhour_session_records",
            "Session records written, by kind and new status; one counts again when it changes.",
            ["kind", "status"],
            registry=registry,
        )
        self.corrections = Counter(
            "quarterhour_corrections",
            "Changes of records that had been final: each may become an adjustment on an invoice.",
            ["kind"],
            registry=registry,
        )
        self.sealed = Counter(
            "quarterhour_seals",
            "Conversations whose facts up to a time were sealed; one that goes on counts each time.",
            registry=registry,
        )
        self.checkpoint_seconds = Histogram(
            "quarterhour_checkpoint_seconds",
            "Time from taking a checkpoint to its commit.",
            buckets=_CHECKPOINT_BUCKETS_SECONDS,
            registry=registry,
        )
        self.lag = Gauge(
            "quarterhour_lag_records",
            "Records of an owned source partition that are in Kafka and not yet saved.",
            ["topic", "partition"],
            registry=registry,
        )
        self.blocked = Gauge(
            "quarterhour_blocked_records",
            "Records of an owned source partition that are behind a producer's open transaction.",
            ["topic", "partition"],
            registry=registry,
        )
        self.no_progress = Gauge(
            "quarterhour_no_progress_seconds",
            "For how long nothing more of an owned source partition was saved though Kafka's log goes on.",
            ["topic", "partition"],
            registry=registry,
        )
        self.watermark_delay = Gauge(
            "quarterhour_watermark_delay_seconds",
            "How far the watermark of an owned shard is behind the clock of this machine.",
            ["shard"],
            registry=registry,
        )
        self.conversations = Gauge(
            "quarterhour_conversations_in_memory",
            "Conversations held in memory because they have not settled.",
            registry=registry,
        )
        self.unsaved = Gauge(
            "quarterhour_unsaved_records",
            "Records that were read and are not saved: a checkpoint that is late keeps them in memory.",
            registry=registry,
        )
        self.stale_batches = Gauge(
            "quarterhour_stale_batches",
            "Batches dropped since the start because they were fetched under an earlier claim.",
            registry=registry,
        )
        self.rejected_failing = Gauge(
            "quarterhour_rejected_events_failing_seconds",
            "For how long rejected events could not be published; meanwhile they wait in the ledger.",
            registry=registry,
        )
        self.checkpoint_age = Gauge(
            "quarterhour_checkpoint_age_seconds",
            "Time since the latest checkpoint or, after a claim, since that; 0 without a claim.",
            registry=registry,
        )
        self.not_ready = Gauge(
            "quarterhour_not_ready",
            "1 for each reason, by its code, why this worker is not ready.",
            ["code"],
            registry=registry,
        )
        self.healthy = Gauge(
            "quarterhour_healthy",
            "1 when this worker answers /healthz with 200.",
            registry=registry,
        )
        self.ready = Gauge(
            "quarterhour_ready",
            "1 when this worker answers /readyz with 200.",
            registry=registry,
        )
