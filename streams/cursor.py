"""Where a claim stands in each source partition: the chain of batches, and the clocks for the watermark.

Pure: no clock of its own, no I/O. architecture.md sections 1 (chain) and 4 (time).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sinks.ledger import Advance, Position, SourcePartition
from streams.batches import Batch

# A partition read to its end follows the wall clock only while fetches say that it still is: so long ago at
# most.
FETCH_FRESH_MS = 5_000


class BrokenChain(Exception):
    """A batch does not start where the one before ended: a layer below lost or repeated records. Stop."""


@dataclass(slots=True)
class Cursor:
    """The progress of one source partition under one claim."""

    source: SourcePartition
    taken_offset: int
    next_offset: int
    clock_ms: int
    gap_count: int = 0
    answered_ms: int = 0
    """When the last fetch that was looked at was answered; before there is one, when the claim was made."""

    @classmethod
    def at(cls, source: SourcePartition, position: Position, claimed_ms: int) -> Cursor:
        """A cursor where the ledger says the partition stands, under a claim made at that time."""
        next_offset = position.next_offset
        return cls(source, next_offset, next_offset, position.clock_ms, answered_ms=claimed_ms)

    def check(self, batch: Batch) -> None:
        """Raise `BrokenChain` unless the batch continues what was read."""
        if batch.start != self.next_offset:
            raise BrokenChain(
                f"{self.source.topic} partition {self.source.partition}: "
                f"read {batch.start}, expected {self.next_offset}"
            )

    def advance(self, batch: Batch, newest_ms: int) -> None:
        """Step over a batch whose newest valid event time is `newest_ms` (0: none)."""
        self.next_offset = batch.end
        self.gap_count += batch.end - batch.start - len(batch.records)
        self.clock_ms = max(self.clock_ms, newest_ms)

    def follow(self, position: int, log_end: int, fetched_ms: int, now_ms: int) -> None:
        """Follow the wall clock, if the fetch answered at `fetched_ms` found the log read to its end.

        It does so up to the answer of an earlier fetch. This one was asked for after that, so all that was
        there then has been read; how long its own answer was on the way nobody knows.
        """
        if fetched_ms <= self.answered_ms:
            return
        at_end = self.next_offset == position >= log_end
        if at_end and now_ms - fetched_ms <= FETCH_FRESH_MS:
            self.clock_ms = max(self.clock_ms, self.answered_ms)
        self.answered_ms = fetched_ms

    def take(self) -> Advance:
        """What a checkpoint must save of this partition; the next one starts where this ends."""
        advance = Advance(self.source, self.taken_offset, self.next_offset, self.clock_ms, self.gap_count)
        self.taken_offset, self.gap_count = self.next_offset, 0
        return advance


def watermark_ms(cursors: Iterable[Cursor]) -> int:
    """The watermark of the shard that these partitions feed: the time that all of them have reached."""
    return min(cursor.clock_ms for cursor in cursors)
