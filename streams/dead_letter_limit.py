"""The limit on dead letters: a bad deploy upstream stops the worker and does not empty a topic. Pure.

What it has counted is saved with the offsets, so that neither a restart nor another worker counts anew. An
operator's way on is to accept what lies before an offset: that no longer counts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from sinks.ledger import DeadLetterRow, LimitCounts, Position, SourcePartition
from streams.batches import Batch, Record

# The share is taken over at least so many records, so that a few bad ones in a quiet hour stop nothing.
WINDOW_RECORDS = 10_000

_offset = attrgetter("offset")


class TooManyDeadLetters(Exception):
    """More records are bad than the deployment allows. The worker must stop until someone has looked."""


class DeadLetterLimit:
    """Watches one source partition: the share of a window's records, and the length of a run of them."""

    def __init__(self, source: SourcePartition, position: Position, share: float, run: int) -> None:
        self._source = source
        self._accepted_offset = position.accepted_offset
        self._share = share
        self._longest_run = run
        self._run, self._records, self._dead = position.counts

    def counts(self) -> LimitCounts:
        """What was counted up to the last record read."""
        return LimitCounts(self._run, self._records, self._dead)

    def count(self, batch: Batch, dead_letters: Sequence[DeadLetterRow]) -> None:
        """Count a batch. Raises `TooManyDeadLetters`, which names the limit and the latest dead letter."""
        records = batch.records
        if batch.start < self._accepted_offset:
            self._run = self._records = self._dead = 0
            records = [record for record in records if record.offset >= self._accepted_offset]
            dead_letters = [letter for letter in dead_letters if letter.offset >= self._accepted_offset]
        self._count_runs(records, dead_letters)
        self._records += len(records)
        self._dead += len(dead_letters)
        if self._records >= WINDOW_RECORDS:
            if self._dead > self._records * self._share:
                share = f"{self._dead} of {self._records} records are dead letters"
                self._stop(f"{share} (DEAD_LETTER_LIMIT_SHARE={self._share})", dead_letters)
            self._records = self._dead = 0

    def _count_runs(self, records: Sequence[Record], dead_letters: Sequence[DeadLetterRow]) -> None:
        """Count those in a row; offsets that hold no record are not between them."""
        last_place = -1
        for number, letter in enumerate(dead_letters):
            place = bisect_left(records, letter.offset, key=_offset)
            self._run = self._run + 1 if place == last_place + 1 else 1
            last_place = place
            if self._run >= self._longest_run:
                run = f"{self._run} dead letters in a row (DEAD_LETTER_LIMIT_RUN={self._longest_run})"
                self._stop(run, dead_letters[: number + 1])
        if last_place < len(records) - 1:
            self._run = 0

    def _stop(self, what: str, dead_letters: Sequence[DeadLetterRow]) -> None:
        topic, partition = self._source
        shown = ""
        if dead_letters:
            last = dead_letters[-1]
            shown = f", the last at offset {last.offset}: {last.reason} {last.field} {last.detail}".rstrip()
        raise TooManyDeadLetters(
            f"{topic} partition {partition}: {what}{shown}. Mend the producer. Then have what is in Kafka"
            " made dead letters, to be mended and replayed, with `quarterhour dead-letters accept --topic "
            f"{topic} --until now --why TEXT --confirm`, and start the worker again"
        )
