"""aiokafka's fetcher, made to hand over runs of records in place of records.

aiokafka takes records one at a time out of what it has parsed, and makes a second object of twelve fields of
each. Here it takes all records of a Kafka batch in one step, a run, as they were parsed: they have all that a
`streams.batches.Record` needs. What aiokafka does with batches (checksums, aborted transactions, control
batches, positions) stays as it is: a run looks to it like one record at the run's last offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher


class _Run(list[Any]):
    """The records of one Kafka batch, in the place of one of them."""

    @property
    def offset(self) -> int:
        """The last offset: aiokafka goes on behind it."""
        last: int = self[-1].offset
        return last


class _BatchOfRuns:
    """A Kafka batch that iterates over one run; all else is the batch's own."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[_Run]:
        run = _Run(self._batch)
        if run:
            yield run

    def __next__(self) -> Any:
        return next(self._batch)  # the marker of a control batch


class _Fetched:
    """What one fetch brought of a partition, by the batch."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def has_next(self) -> bool:
        """Whether there is another batch."""
        more: bool = self._records.has_next()
        return more

    def next_batch(self) -> _BatchOfRuns:
        """The next one."""
        return _BatchOfRuns(self._records.next_batch())


class RunsOfPartition(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's records of one fetch of a partition, given out as runs."""

    def __init__(self, tp: Any, records: Any, *rest: Any, **named: Any) -> None:
        super().__init__(tp, _Fetched(records), *rest, **named)

    def _consumer_record(self, tp: Any, run: _Run) -> list[Any]:
        start = self.next_fetch_offset
        if run[0].offset >= start:
            return run
        return [record for record in run if record.offset >= start]  # read from within a batch on


def hand_over_runs() -> None:
    """Have every consumer of this process hand over runs from now on."""
    fetcher.PartitionRecords = RunsOfPartition
