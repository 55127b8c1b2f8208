"""From a batch's records to facts: each gets its outcome or its place among them (rule page, section 1).

Pure. This is the hot path: what is common runs without exceptions and without objects of its own.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from schemas.decode import LAST_TIME_MS, Rejected, check_clock, check_key, check_partition, decode
from schemas.outcomes import Outcome
from schemas.reasons import Reason
from schemas.topics import Topic, key_of
from sessionizer.intake import fact_of, report_of
from sinks.ledger import DeadLetterRow, OutcomeKey, SourcePartition
from streams.batches import Batch, Record


@dataclass(frozen=True, slots=True)
class Contract:
    """The bounds that a deployment sets on what it reads (settings MAX_AHEAD, MAX_AGE, IGNORED_TYPES)."""

    max_ahead_ms: int
    max_age_ms: int
    ignored_types: frozenset[str] = frozenset()


@dataclass(slots=True)
class Reading:
    """What a batch said: facts or reports by Kafka key, and the outcome of every record that is neither."""

    by_key: defaultdict[bytes, list[Any]] = field(default_factory=lambda: defaultdict(list))
    outcomes: Counter[OutcomeKey] = field(default_factory=Counter)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    newest_ms: int = 0


class Reader:
    """Reads the batches of one source partition; keys in `known` need no check of their partition."""

    def __init__(
        self,
        source: SourcePartition,
        topic: Topic,
        partitions: int,
        contract: Contract,
        known: Container[bytes],
    ) -> None:
        self._source = source
        self._topic = topic
        self._partitions = partitions
        self._contract = contract
        self._known = known
        self._take: Callable[[Any, int], object]
        self._take = report_of if topic is Topic.ALERT_DELIVERY else fact_of
        self._test_traffic = OutcomeKey(source, Outcome.TEST_TRAFFIC, "")
        self._unbilled = OutcomeKey(source, Outcome.UNBILLED, "")

    def read(self, batch: Batch) -> Reading:
        """Read every record of a batch; none can make it fail."""
        reading, topic, take, known = Reading(), self._topic, self._take, self._known
        by_key, outcomes = reading.by_key, reading.outcomes
        most_ahead_ms, most_behind_ms = self._contract.max_ahead_ms, -self._contract.max_age_ms
        newest_ms, last_ms = 0, LAST_TIME_MS
        for record in batch.records:
            try:
                event, time_ms = decode(record.value, topic)
                ahead_ms = time_ms - record.timestamp
                if not (most_behind_ms <= ahead_ms <= most_ahead_ms and 0 <= time_ms <= last_ms):
                    check_clock(time_ms, record.timestamp, most_ahead_ms, -most_behind_ms)
                key = key_of(event)
                if key != record.key:
                    check_key(event, record.key)
                if key not in by_key and key not in known:
                    check_partition(key, self._source.partition, self._partitions)
            except Rejected as rejected:
                self._reject(record, rejected, reading)
                continue
            if time_ms > newest_ms:
                newest_ms = time_ms
            if event["data"]["developer"]:
                outcomes[self._test_traffic] += 1
            elif taken := take(event, time_ms):
                by_key[key].append(taken)
            else:
                outcomes[self._unbilled] += 1
        reading.newest_ms = newest_ms
        return reading

    def _reject(self, record: Record, rejected: Rejected, reading: Reading) -> None:
        if rejected.reason is Reason.UNKNOWN_TYPE and _type_of(record.value) in self._contract.ignored_types:
            reading.outcomes[self._unbilled] += 1
            return
        reason = rejected.reason.value
        reading.outcomes[OutcomeKey(self._source, Outcome.DEAD_LETTER, reason)] += 1
        reading.dead_letters.append(
            DeadLetterRow(
                *(self._source, record.offset, reason, rejected.field, rejected.detail),
                *(record.key, record.value, _storable_ms(record.timestamp)),
            )
        )


def _storable_ms(timestamp_ms: int) -> int:
    """The nearest time that the ledger can keep, lest a dead letter could never be saved.

    Records from before a topic was dated by the broker bear whatever their producers called milliseconds.
    """
    return max(0, min(timestamp_ms, LAST_TIME_MS))


def _type_of(value: bytes | None) -> object:
    return json.loads(value or b"{}").get("type")
