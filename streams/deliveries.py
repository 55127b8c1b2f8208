"""The alert deliveries of one source partition between two checkpoints: reports in, alert sessions out.

Pure: no I/O and no clock. An alert session is final at once (billing-rules.md section 7), so nothing stays
in memory once the checkpoint that holds it has committed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

from sessionizer.alerts import Delivery, Report
from sessionizer.ids import alert_session_id
from sinks.ledger import AlertReportRow, Checkpoint, OutcomeKey, RecordRow, SourcePartition, StoredAlert


class Alert:
    """One alert delivery: its reports, and which of them the ledger has been told."""

    __slots__ = (
        "account_id", "bot_id", "delivery", "delivery_id", "key", "revision",
        "taken_in", "told", "told_first",
    )  # fmt: skip

    def __init__(self, names: Sequence[str], key: bytes, stored: StoredAlert | None) -> None:
        self.account_id, self.bot_id, self.delivery_id = names
        self.key = key
        self.told_first = Report(*stored.first) if stored else None
        self.revision = stored.revision if stored else 0
        self.told = {Report(*report) for report in stored.further} if stored else set()
        self.delivery = Delivery(self.told | {self.told_first} if self.told_first else ())
        self.taken_in = 0

    def take(self, shard: int, checkpoint: Checkpoint) -> None:
        """Put what changed since the last take into a checkpoint."""
        first = self.delivery.first
        if first != self.told_first:
            self.told_first = first
            self.revision += 1
            checkpoint.records.append(self._record(first, shard))
        untold = self.delivery.reports - self.told - {first}
        checkpoint.alert_reports += [AlertReportRow(self.key, *report) for report in sorted(untold)]
        self.told |= untold

    def _record(self, first: Report, shard: int) -> RecordRow:
        return RecordRow(
            session_id=self.key,
            kind="alert",
            account_id=self.account_id,
            bot_id=self.bot_id,
            user_id=first.user_id,
            channel=first.channel,
            subject_id=self.delivery_id,
            session_started_ms=None,
            block=None,
            started_ms=first.time_ms,
            ended_ms=first.time_ms,
            bot_ms=None,
            agent_ms=None,
            user_messages=None,
            bot_messages=None,
            status="final",
            revision=self.revision,
            late=False,
            settles_ms=None,
            shard=shard,
        )


Reports = Mapping[bytes, Sequence[Report]]
"""By the Kafka key of their delivery."""


class AlertShard:
    """The alert deliveries of one source partition, under one claim."""

    def __init__(self, source: SourcePartition) -> None:
        self._source = source
        self._alerts: dict[bytes, Alert] = {}
        self._touched: dict[bytes, Alert] = {}
        self._kept: defaultdict[bytes, list[Report]] = defaultdict(list)

    @property
    def keys(self) -> Container[bytes]:
        """The Kafka keys of the deliveries in memory."""
        return self._alerts.keys()

    def unknown(self, kafka_keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Those not in memory, with the session id to look them up by."""
        return {key: alert_session_id(*_names(key)).bytes for key in kafka_keys if key not in self._alerts}

    def admit(self, unknown: Mapping[bytes, bytes], stored: Mapping[bytes, StoredAlert]) -> None:
        """Take these into memory, each with what was stored of it at a look-up after `unknown` was asked."""
        for kafka_key, key in unknown.items():
            self._alerts[kafka_key] = Alert(_names(kafka_key), key, stored.get(key))

    def keep(self, reports: Reports) -> None:
        """Keep reports for the next cut."""
        for key, some in reports.items():
            self._kept[key] += some

    def cut(self) -> Reports:
        """Return all that was kept since the last cut."""
        kept, self._kept = self._kept, defaultdict(list)
        return kept

    def merge(self, reports: Reports) -> Counter[OutcomeKey]:
        """Add reports to deliveries in memory; return how many had which outcome."""
        outcomes: Counter[OutcomeKey] = Counter()
        for kafka_key, some in reports.items():
            alert = self._alerts[kafka_key]
            outcomes.update(OutcomeKey(self._source, alert.delivery.add(report), "") for report in some)
            self._touched[kafka_key] = alert
        return outcomes

    def take(self, number: int, checkpoint: Checkpoint) -> None:
        """Put all that changed since the last take into a checkpoint, the claim's so many'th."""
        for alert in self._touched.values():
            alert.take(self._source.partition, checkpoint)
            alert.taken_in = number
        self._touched = {}

    def forget_saved(self, saved: int) -> None:
        """Let go of all that no later checkpoint than this saved one has taken."""
        self._alerts = {key: alert for key, alert in self._alerts.items() if alert.taken_in > saved}


def _names(kafka_key: bytes) -> list[str]:
    return kafka_key.decode().split("|")
