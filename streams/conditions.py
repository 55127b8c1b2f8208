"""What can be seen of a worker at one moment, and since when its conditions have held without a break.

Pure: it asks no clock. Time in which nobody looked does not count: a process that was stopped and goes on
has not been idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from sinks.ledger import SourcePartition

# The longest time between two looks that counts.
LONGEST_LOOK_SECONDS = 2.0
# A fetch without news is answered within half a second.
SILENT_FETCH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an owned source partition has come: offsets, each the next one."""

    saved: int
    merged: int
    handed_over: int
    """By Kafka's client."""
    readable_end: int
    """The last stable offset: an open transaction is not read."""
    log_end: int
    fetched_ms: int | None = None
    """When Kafka last answered about it, by whatever clock: only changes matter."""
    held: bool = False
    """Whether Kafka's client holds records that nobody has taken."""

    @property
    def at_hand(self) -> bool:
        """Whether records are waiting for this process: then it asks Kafka for none."""
        return self.held or self.handed_over > self.merged


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a worker found."""

    claim: int | None = None
    spare: bool = False
    """The group has given it no partition."""
    waiting_for: str | None = None
    calling: bool = False
    """A call to the ledger is under way."""
    checkpoints: int = 0
    """How many have committed since the start."""
    counts: Mapping[str, int | None] = field(default_factory=dict)
    """The partitions of each topic by Kafka's latest metadata; None if it is not there."""
    metadata_ms: float | None = None
    """When that came, by whatever clock."""
    progress: Mapping[SourcePartition, Progress] = field(default_factory=dict)


class Condition(Enum):
    """What may hold for a while; some do of one topic or source partition each."""

    UNCLAIMED = auto()
    """No claim, though neither a spare worker nor waiting for anything."""
    MISSING = auto()
    """A topic is not in Kafka's metadata, though some have been."""
    STALE_METADATA = auto()
    CALLING = auto()
    UNSAVED = auto()
    """A claim without a new checkpoint."""
    UNSAVED_UNEXPLAINED = auto()
    """So it is, though nothing is waited for."""
    NO_FETCH = auto()
    """No fetch is answered though some are due."""
    UNFETCHED = auto()
    """No fetch of a source partition is answered."""
    BEHIND = auto()
    """Kafka's log goes on after what is saved of a source partition, and nothing more is saved."""
    STUCK = auto()
    """So it is, though there is more to read, Kafka answers, and nothing is waited for."""


_Held = tuple[Condition, SourcePartition | str | None]


class Conditions:
    """The latest look at a worker, and for how long each condition has held by then."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._since: dict[_Held, float] = {}
        self._topics_seen = False
        self._looked_at: float | None = None
        self._seconds = 0.0

    def observe(self, seen: Seen, now_seconds: float) -> None:
        """Take in one look."""
        if self._looked_at is not None:
            self._seconds += min(now_seconds - self._looked_at, LONGEST_LOOK_SECONDS)
        self._looked_at = now_seconds
        self._topics_seen |= any(seen.counts.values())
        self._since = {held: self._since.get(held, self._seconds) for held in self._found(seen)}
        self.seen = seen

    def holds(self, condition: Condition, subject: SourcePartition | str | None = None) -> bool:
        """Whether it holds now."""
        return (condition, subject) in self._since

    def seconds(self, condition: Condition, subject: SourcePartition | str | None = None) -> float:
        """For how long it has held; 0 if it does not."""
        return self._seconds - self._since.get((condition, subject), self._seconds)

    @property
    def missing_topics(self) -> list[str]:
        """The topics that are missing in Kafka."""
        return [topic for topic in sorted(self.seen.counts) if self.holds(Condition.MISSING, topic)]

    def _found(self, seen: Seen) -> list[_Held]:
        return [*self._of_worker(seen), *self._of_topics(seen), *self._of_claim(seen)]

    def _of_worker(self, seen: Seen) -> Iterator[_Held]:
        if seen.claim is None and not seen.spare and not seen.waiting_for:
            yield Condition.UNCLAIMED, None
        if seen.calling:
            yield Condition.CALLING, None

    def _of_topics(self, seen: Seen) -> Iterator[_Held]:
        if seen.metadata_ms is not None and seen.metadata_ms == self.seen.metadata_ms:
            yield Condition.STALE_METADATA, None
        for topic, count in seen.counts.items():
            if not count and self._topics_seen:
                yield Condition.MISSING, topic

    def _of_claim(self, seen: Seen) -> Iterator[_Held]:
        if seen.claim is None or seen.claim != self.seen.claim:
            return
        if seen.checkpoints == self.seen.checkpoints:
            yield Condition.UNSAVED, None
            if not _is_explained(seen):
                yield Condition.UNSAVED_UNEXPLAINED, None
        unfetched = [source for source in seen.progress if not self._is_answered(seen, source)]
        yield from ((Condition.UNFETCHED, source) for source in unfetched)
        at_hand = any(progress.at_hand for progress in seen.progress.values())
        if seen.progress and len(unfetched) == len(seen.progress) and not at_hand:
            yield Condition.NO_FETCH, None
        for source, progress in seen.progress.items():
            yield from self._of_partition(seen, source, progress)

    def _of_partition(self, seen: Seen, source: SourcePartition, progress: Progress) -> Iterator[_Held]:
        before = self.seen.progress.get(source)
        if before is None or before.saved != progress.saved:
            return
        if progress.saved < progress.log_end:
            yield Condition.BEHIND, source
        can_be_had = progress.at_hand or self.seconds(Condition.UNFETCHED, source) <= SILENT_FETCH_SECONDS
        if progress.saved < progress.readable_end and can_be_had and not _is_explained(seen):
            yield Condition.STUCK, source

    def _is_answered(self, seen: Seen, source: SourcePartition) -> bool:
        before = self.seen.progress.get(source)
        return before is None or before.fetched_ms != seen.progress[source].fetched_ms


def _is_explained(seen: Seen) -> bool:
    return bool(seen.waiting_for) or not all(seen.counts.values())
