"""The limit on dead letters: a bad deploy upstream stops the worker and does not empty a topic. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.ledger import DeadLetterRow, SourcePartition

# The share is taken over at least so many records, so that a few bad ones in a quiet hour stop nothing.
WINDOW_RECORDS = 10_000


class TooManyDeadLetters(Exception):
    """More records are bad than the deployment allows. The worker must stop until someone has looked."""


class DeadLetterLimit:
    """Watches one source partition: the share of a window's records, and the length of a run of them."""

    def __init__(self, source: SourcePartition, share: float, run: int) -> None:
        self._source = source
        self._share = share
        self._run = run
        self._last: DeadLetterRow | None = None
        self._run_length = 0
        self._records = 0
        self._dead = 0

    def count(self, records: int, dead_letters: Sequence[DeadLetterRow]) -> None:
        """Count a batch. Raises `TooManyDeadLetters`, which names the limit and the latest dead letter."""
        self._records += records
        self._dead += len(dead_letters)
        for letter in dead_letters:
            follows = self._last is not None and letter.offset == self._last.offset + 1
            self._run_length = self._run_length + 1 if follows else 1
            self._last = letter
            if self._run_length >= self._run:
                self._stop(f"{self._run_length} dead letters in a row (DEAD_LETTER_LIMIT_RUN={self._run})")
        if self._records >= WINDOW_RECORDS:
            if self._dead > self._records * self._share:
                share = f"{self._dead} of {self._records} records are dead letters"
                self._stop(f"{share} (DEAD_LETTER_LIMIT_SHARE={self._share})")
            self._records = self._dead = 0

    def _stop(self, what: str) -> None:
        place = f"{self._source.topic} partition {self._source.partition}"
        last = self._last
        shown = (
            f", the last at offset {last.offset}: {last.reason} {last.field} {last.detail}" if last else ""
        )
        raise TooManyDeadLetters(f"{place}: {what}{shown}".rstrip())
