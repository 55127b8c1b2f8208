"""Runs of records: what aiokafka hands over is what it would have, a Kafka batch at a time."""

from collections.abc import Sequence
from typing import Any

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from streams.runs import RunsOfPartition

HERE = TopicPartition("here", 0)


def kafka_batch(offsets: Sequence[int], *, transactional: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, 0, int(transactional), 7 if transactional else -1, 0, 0, batch_size=10_000
    )
    for offset in offsets:
        builder.append(offset - offsets[0], 1_000 + offset, b"key", b"value %d" % offset, [])
    built = bytearray(builder.build())
    built[:8] = offsets[0].to_bytes(8, "big")
    return bytes(built)


def read(kind: Any, batches: Sequence[bytes], start: int, aborted: Sequence[tuple[int, int]] = ()) -> Any:
    return kind(HERE, MemoryRecords(b"".join(batches)), list(aborted), start, None, None, True, 1)


def offsets_both_ways(
    batches: Sequence[bytes], start: int, aborted: Sequence[tuple[int, int]] = ()
) -> list[int]:
    """The offsets read as runs, which must be those read one by one, and end in the same place."""
    runs, singles = (read(kind, batches, start, aborted) for kind in (RunsOfPartition, PartitionRecords))
    by_run = [(record.offset, record.key, record.value, record.timestamp) for run in runs for record in run]
    one_by_one = [(record.offset, record.key, record.value, record.timestamp) for record in singles]
    assert by_run == one_by_one
    assert runs.next_fetch_offset == singles.next_fetch_offset
    return [offset for offset, *_ in by_run]


def test_all_records_of_all_batches_are_handed_over_in_order() -> None:
    assert offsets_both_ways([kafka_batch(range(3)), kafka_batch(range(3, 8))], 0) == list(range(8))


def test_reading_may_begin_within_a_batch() -> None:
    assert offsets_both_ways([kafka_batch(range(5)), kafka_batch(range(5, 8))], 3) == [3, 4, 5, 6, 7]


def test_reading_may_begin_at_the_last_record_of_a_batch() -> None:
    assert offsets_both_ways([kafka_batch(range(5))], 4) == [4]


def test_gaps_between_and_within_batches_are_no_obstacle() -> None:
    assert offsets_both_ways([kafka_batch([0, 2, 5]), kafka_batch([9])], 1) == [2, 5, 9]


def test_an_aborted_transaction_is_left_out() -> None:
    batches = [kafka_batch(range(2)), kafka_batch(range(2, 5), transactional=True), kafka_batch([5])]
    assert offsets_both_ways(batches, 0, aborted=[(7, 2)]) == [0, 1, 5]
