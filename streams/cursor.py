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

    @classmethod
    def at(cls, source: SourcePartition, position: Position) -> Cursor:
        """A cursor where the ledger says the partition stands."""
        return cls(source, position.next_offset, position.next_offset, position.clock_ms)

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

    def follow(self, position: int, high_water: int, fetched_ms: int, now_ms: int) -> None:
        """Follow the wall clock to the time of a fetch that found nothing after what was read here."""
        at_end = self.next_offset == position >= high_water
        if at_end and now_ms - fetched_ms <= FETCH_FRESH_MS:
            self.clock_ms = max(self.clock_ms, fetched_ms)

    def take(self) -> Advance:
        """What a checkpoint must save of this partition; the next one starts where this ends."""
        advance = Advance(self.source, self.taken_offset, self.next_offset, self.clock_ms, self.gap_count)
        self.taken_offset, self.gap_count = self.next_offset, 0
        return advance


def watermark_ms(cursors: Iterable[Cursor]) -> int:
    """The watermark of the shard that these partitions feed: the time that all of them have reached."""
    return min(cursor.clock_ms for cursor in cursors)
