"""The record batch, what one fetch of one source partition brought: the unit of all work in `streams/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sinks.ledger import SourcePartition


class Record(Protocol):
    """What is read of a Kafka record (aiokafka's ConsumerRecord has it)."""

    @property
    def offset(self) -> int:
        """Its position in the partition."""
        ...

    @property
    def timestamp(self) -> int:
        """The broker's time of arrival, ms since 1970 UTC (LogAppendTime)."""
        ...

    @property
    def key(self) -> bytes | None:
        """The Kafka key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The event, or what pretends to be one."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The Kafka headers; looked at only if the record is bad."""
        ...


class Batch(NamedTuple):
    """Records of one source partition from `start` to before `end`; offsets that hold none of them are gaps.

    `claim` is the number of the claim under which it was fetched: another claim must not use it.
    """

    source: SourcePartition
    start: int
    end: int
    records: Sequence[Record]
    claim: int
