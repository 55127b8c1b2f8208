"""Whether a worker is fit for its work. Pure: it judges what was seen, and asks no clock.

`/readyz` shows `not_ready`, `/healthz` shows `unhealthy`, and `must_end` is why the process ends: a worker is
never alive and stuck. What stands still because something is being waited for is not ready; unhealthy is only
what stands still though nothing is waited for, because only there a restart helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from schemas.topics import Topic
from sinks.ledger import SourcePartition
from streams.conditions import SILENT_FETCH_SECONDS, Condition, Conditions, Progress, Seen
from streams.exits import Exit

# So many intervals without a checkpoint are too many.
OVERDUE_CHECKPOINTS = 10
# Kafka's topics are looked up so often: a change is found as fast, and a client that reads nothing hears of
# Kafka at all.
METADATA_MAX_AGE_SECONDS = 10.0
SILENT_METADATA_SECONDS = METADATA_MAX_AGE_SECONDS + SILENT_FETCH_SECONDS
# Without a claim nothing is read: joining the group may take two such times (rebalance, dead members).
JOIN_SECONDS = 60.0
# A call to the ledger ends by itself within 40 s (sinks.connecting): until then it is waiting and not stuck.
CALL_SECONDS = 60.0


class Code(StrEnum):
    """Why a worker is not ready: stable, and explained to operators in the README of this folder."""

    NOT_CLAIMED = "not_claimed"
    NO_PROGRESS = "no_progress"
    OPEN_TRANSACTION = "open_transaction"
    CHECKPOINT_OVERDUE = "checkpoint_overdue"
    TOPIC_MISSING = "topic_missing"
    PARTITIONS_CHANGED = "partitions_changed"
    NOT_COPARTITIONED = "not_copartitioned"
    WAITING = "waiting"
    KAFKA_SILENT = "kafka_silent"


class Reason(NamedTuple):
    """One reason for not being ready, with its figures."""

    code: Code
    text: str


class End(NamedTuple):
    """Why the process must end, and with which status."""

    status: Exit
    text: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what may last, from the settings; in seconds."""

    patience: float
    checkpoint_interval: float

    @property
    def overdue(self) -> float:
        """Without a checkpoint."""
        return OVERDUE_CHECKPOINTS * self.checkpoint_interval

    @property
    def no_progress(self) -> float:
        """Without progress, before a worker is not ready."""
        return max(self.overdue, self.patience / 4)

    @property
    def unhealthy(self) -> float:
        """Stuck, before a worker is unhealthy; after as long again its process ends."""
        return self.patience + self.overdue


class Health:
    """One worker's conditions, judged."""

    def __init__(self, limits: Limits, topics: Mapping[str, Topic], partitions: Mapping[str, int]) -> None:
        """`partitions` are the counts that the ledger knows."""
        self._limits = limits
        self._partitions = partitions
        names = {role: name for name, role in topics.items()}
        self._pair = names[Topic.CONVERSATION], names[Topic.AGENT_HANDOFF]
        self._conditions = Conditions()

    def observe(self, seen: Seen, now_seconds: float) -> None:
        """Take in one look at the worker."""
        self._conditions.observe(seen, now_seconds)

    @property
    def seen(self) -> Seen:
        """The latest look."""
        return self._conditions.seen

    @property
    def missing_topics(self) -> list[str]:
        """The topics that are missing in Kafka."""
        return self._conditions.missing_topics

    def seconds_without_progress(self, source: SourcePartition) -> float:
        """For how long nothing more of a partition was saved though Kafka's log goes on; 0 if it does not."""
        return self._conditions.seconds(Condition.BEHIND, source)

    def seconds_without_checkpoint(self) -> float:
        """Since the latest checkpoint, or the claim; 0 without a claim."""
        return self._conditions.seconds(Condition.UNSAVED)

    def not_ready(self) -> list[Reason]:
        """All reasons why the worker is not ready now."""
        return [
            *self._not_claimed(),
            *self._no_progress(),
            *self._overdue(),
            *self._topics_missing(),
            *self._partitions_changed(),
            *self._not_copartitioned(),
            *self._waiting(),
            *self._kafka_silent(),
        ]

    def unhealthy(self) -> str | None:
        """Why the process should be restarted, if it should."""
        seconds, text = self._stuck()
        return text if seconds > self._limits.unhealthy else None

    def must_end(self) -> End | None:
        """Why the process must end, if it must."""
        for changed in self._partitions_changed():
            return End(Exit.REFUSED, changed.text)
        if self._longest_missing_seconds() > self._limits.patience and not self._metadata_is_stale():
            return self.refuse_missing()
        if text := self._out_of_patience():
            return End(Exit.OUT_OF_PATIENCE, text)
        seconds, text = self._stuck()
        if seconds > 2 * self._limits.unhealthy:
            return End(Exit.BUG, f"stuck though nothing is waited for: {text}")
        return None

    def refuse_missing(self) -> End | None:
        """What a start would say of the topics that are missing, if any is: a restart will not help."""
        names = ", ".join(f"topic {topic}" for topic in self.missing_topics)
        return End(Exit.REFUSED, f"missing in Kafka: {names}; create them first") if names else None

    # -- Reasons for not being ready

    def _not_claimed(self) -> Iterator[Reason]:
        if self.seen.claim is None and not self.seen.spare:
            yield Reason(Code.NOT_CLAIMED, "no partitions are claimed")

    def _no_progress(self) -> Iterator[Reason]:
        for source, progress in self.seen.progress.items():
            seconds = self.seconds_without_progress(source)
            if seconds > self._limits.no_progress:
                blocked = progress.saved >= progress.readable_end
                code = Code.OPEN_TRANSACTION if blocked else Code.NO_PROGRESS
                yield Reason(code, _no_progress(source, progress, seconds))

    def _overdue(self) -> Iterator[Reason]:
        if (seconds := self.seconds_without_checkpoint()) > self._limits.overdue:
            yield Reason(Code.CHECKPOINT_OVERDUE, _no_checkpoint(seconds))

    def _topics_missing(self) -> Iterator[Reason]:
        for topic in self.missing_topics:
            seconds = self._conditions.seconds(Condition.MISSING, topic)
            yield Reason(Code.TOPIC_MISSING, f"missing in Kafka for {seconds:.0f} s: topic {topic}")

    def _partitions_changed(self) -> Iterator[Reason]:
        for topic, count in self._partitions.items():
            found = self.seen.counts.get(topic)
            if found and found != count:
                moved = f"topic {topic} has {found} partitions now and had {count}: its keys have moved"
                text = f"{moved}; `quarterhour repartition` is the way on"
                yield Reason(Code.PARTITIONS_CHANGED, text)

    def _not_copartitioned(self) -> Iterator[Reason]:
        first, second = (self.seen.counts.get(topic) for topic in self._pair)
        if first and second and first != second:
            names = f"topic {self._pair[0]} has {first} partitions and {self._pair[1]} {second}"
            yield Reason(Code.NOT_COPARTITIONED, f"{names}: a conversation's events do not meet")

    def _waiting(self) -> Iterator[Reason]:
        if self.seen.waiting_for:
            yield Reason(Code.WAITING, f"waiting for {self.seen.waiting_for}")

    def _kafka_silent(self) -> Iterator[Reason]:
        if (seconds := self._conditions.seconds(Condition.NO_FETCH)) > SILENT_FETCH_SECONDS:
            yield Reason(Code.KAFKA_SILENT, _no_fetch(seconds))
        elif self.seen.claim is None and self._metadata_is_stale():
            seconds = self._conditions.seconds(Condition.STALE_METADATA)
            yield Reason(Code.KAFKA_SILENT, _no_metadata(seconds))
        else:
            yield from self._partitions_silent()

    def _partitions_silent(self) -> Iterator[Reason]:
        limit = max(SILENT_FETCH_SECONDS, self._limits.no_progress)
        for source, progress in self.seen.progress.items():
            seconds = self._conditions.seconds(Condition.UNFETCHED, source)
            if seconds > limit and not progress.at_hand:
                yield Reason(Code.KAFKA_SILENT, _no_fetch(seconds, f" of {_place(source)}"))

    # -- Ends

    def _metadata_is_stale(self) -> bool:
        return self._conditions.seconds(Condition.STALE_METADATA) > SILENT_METADATA_SECONDS

    def _longest_missing_seconds(self) -> float:
        return max(
            (self._conditions.seconds(Condition.MISSING, topic) for topic in self.missing_topics), default=0.0
        )

    def _out_of_patience(self) -> str | None:
        patience, conditions = self._limits.patience, self._conditions
        if (seconds := conditions.seconds(Condition.NO_FETCH)) > patience:
            return _no_fetch(seconds)
        if (seconds := conditions.seconds(Condition.UNCLAIMED)) > patience + JOIN_SECONDS:
            return f"Kafka has let this worker claim nothing for {seconds:.0f} s"
        seconds = conditions.seconds(Condition.STALE_METADATA)
        if self.seen.claim is None and seconds > patience + METADATA_MAX_AGE_SECONDS:
            return _no_metadata(seconds)
        return None

    def _stuck(self) -> tuple[float, str]:
        """What has been stuck the longest, and for how long."""
        conditions = self._conditions
        if conditions.holds(Condition.CALLING) and conditions.seconds(Condition.CALLING) <= CALL_SECONDS:
            return 0.0, ""  # it may take its own time
        unsaved = conditions.seconds(Condition.UNSAVED_UNEXPLAINED)
        found = [(unsaved, _no_checkpoint(unsaved))]
        for source, progress in self.seen.progress.items():
            seconds = conditions.seconds(Condition.STUCK, source)
            found.append((seconds, _no_progress(source, progress, seconds)))
        return max(found)


def _no_checkpoint(seconds: float) -> str:
    return f"no checkpoint for {seconds:.0f} s"


def _no_fetch(seconds: float, whose: str = "") -> str:
    return f"Kafka has answered no fetch{whose} for {seconds:.0f} s"


def _no_metadata(seconds: float) -> str:
    return f"Kafka has told nothing of its topics for {seconds:.0f} s"


def _place(source: SourcePartition) -> str:
    return f"{source.topic} partition {source.partition}"


def _no_progress(source: SourcePartition, progress: Progress, seconds: float) -> str:
    text = (
        f"{_place(source)}: no progress for {seconds:.0f} s at offset {progress.saved}, "
        f"Kafka's log ends at {progress.log_end}"
    )
    if progress.saved >= progress.readable_end:
        return f"{text}: a producer's transaction that begins there is open"
    return f"{text} and can be read to {progress.readable_end}"
